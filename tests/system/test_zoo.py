"""Architectures, heads and the command line on a whole Runyard."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.system.running_yard import OFFLINE, ROOT

PAGE = (ROOT / "docs" / "networks.md").read_text()


def _example() -> str:
    """The architecture of docs/networks.md."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    found: str = next(block for block in blocks if "register(" in block)
    return found


def _runyard(yard: Any, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *words],
        capture_output=True,
        text=True,
        timeout=170,
        env={**os.environ, **OFFLINE, "RUNYARD_URL": yard.address},
    )


def test_auxiliary_scalars_are_fed_to_the_network(yard: Any) -> None:
    run = yard.launch(family="simple_cnn", size="base", auxiliary=True, epochs=1)
    assert yard.wait_for(run, "succeeded")["params"] == 423_402


def test_a_file_dropped_into_the_models_path_trains_without_a_restart_of_the_server(
    own_yard: Any, tmp_path: Path
) -> None:
    yard = own_yard(RUNYARD_MODELS_PATH=str(tmp_path))
    yard.wait_for_worker()
    before = {row["family"] for row in yard.call("/architectures")["architectures"]}
    example = _example()
    (tmp_path / "two_convs.py").write_text(example)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    assert example.count("1418") == 1
    (tmp_path / "miscounted.py").write_text(example.replace("1418", "7").replace('"two_convs"', '"miscounted"'))

    def appeared() -> Any:
        found = yard.call("/architectures")
        return found if "two_convs" in {row["family"] for row in found["architectures"]} else None

    found = yard.until(appeared, 60)
    assert {row["family"] for row in found["architectures"]} == before | {"two_convs"}
    broken = {Path(key).stem: words for key, words in found["broken"].items()}
    assert "nothing_of_this_name" in broken["broken"]
    assert "1,418" in broken["miscounted"]
    run = yard.launch(family="two_convs", epochs=1)
    assert yard.wait_for(run, "succeeded")["summary"]["test/acc"]["points"] == 1


def test_the_command_line_launches_several_networks_and_waits_for_them(yard: Any) -> None:
    networks = ["--family", "simple_mlp,simple_dense_net", "--size", "all"]
    said = _runyard(yard, "launch", *networks, "--epochs", "1", "--tags", "cli", "--wait")
    assert said.returncode == 0, said.stderr
    runs = yard.call("/runs?tag=cli")["runs"]
    assert len(runs) == 7
    assert {run["status"] for run in runs} == {"succeeded"}
    refused = _runyard(yard, "launch", "--family", "vit", "--size", "hug")
    assert refused.returncode == 2
    assert "tiny, small, base, large" in refused.stderr

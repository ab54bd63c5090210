"""The Python examples in README and docs/python.md run as they are printed."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from tests.system.test_browser_datasets import photos

ROOT = Path(__file__).resolve().parents[2]


def examples(page: str) -> list[str]:
    """The Python examples of a page, without their fences."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


SCRIPTS = [*examples("docs/python.md"), *examples("README.md")]


def test_there_are_examples() -> None:
    assert len(SCRIPTS) == 8


def test_the_python_examples_run_one_after_the_other(yard: Any, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    outputs = []
    colors = {"rose": (220, 30, 60), "tulip": (240, 200, 30)}
    zipfile.ZipFile(io.BytesIO(photos(colors))).extractall(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "flowers")
    for number, script in enumerate(SCRIPTS):
        file = tmp_path / f"example_{number}.py"
        file.write_text(script)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(file)],
            cwd=tmp_path,
            env=environment | {"RUNYARD_URL": yard.address, "RUNYARD_SPOOL_DIR": str(tmp_path / "spool")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    (on_flowers,) = yard.call("/runs?dataset=flowers")["runs"]
    # Other tests look at runs on digits only.
    yard.call(f"/runs/{on_flowers['id']}", method="DELETE")
    yard.call("/datasets/flowers", method="DELETE")
    launched, listed, trained, compared, logged, predicted, awaited, finished = outputs
    assert [line.partition(":")[0] for line in launched.splitlines()[:3]] == ["step 39", "step 78", "step 117"]
    assert re.search(rf"^succeeded 0\.\d+ {yard.address}/runs/r_\w+$", launched, re.M)
    named = [line.partition(" ")[0] for line in listed.splitlines()]
    assert {yard.call(f"/runs?number={number}")["runs"][0]["spec"]["dataset"] for number in named} == {"digits"}
    assert re.fullmatch(r"succeeded [01]\.\d+\n", trained)
    assert re.search(r"^simple_cnn tiny +2 +\d+\.\d\d ± \d+\.\d\d%", compared, re.M)
    assert re.fullmatch(rf"{yard.address}/runs/r_\w+\n", logged)
    own = yard.call(f"/runs/{logged.strip().rpartition('/')[2]}")
    assert (own["status"], own["summary"]["loss"]["points"], own["parameters"]) == ("succeeded", 100, {"lr": "0.1"})
    assert "422 no size 'enormous' for simple_cnn; sizes: tiny, small" in compared
    assert re.match(r"^\[0\.\d+, 0\.\d+\]$", awaited)
    assert re.fullmatch(r"\d [01]\.\d+\n", predicted)
    assert re.fullmatch(rf"succeeded 0\.\d+ {yard.address}/runs/r_\w+\n", finished)


def test_the_examples_of_using_a_model_run_one_after_the_other(yard: Any, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    outputs = []
    for number, script in enumerate(examples("docs/using-a-model.md")):
        (tmp_path / f"example_{number}.py").write_text(script)
        done = subprocess.run(
            [sys.executable, f"example_{number}.py"],
            cwd=tmp_path,
            env=environment | {"RUNYARD_URL": yard.address, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    onnx, program, weights = outputs[:3]
    assert re.match(r"largest difference \d\S*\n\(5, 10\)\n", onnx)
    assert program == "torch.Size([5, 10])\n"
    assert weights.startswith("SimpleMLP [")

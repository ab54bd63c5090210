"""The unit tests of the browser code, which Node.js runs, and the finding of Node.js."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from static import node

ROOT = Path(__file__).resolve().parents[2]
TESTS = sorted(Path(__file__).parent.glob("*.test.js"))
TIMEOUT_SECONDS = 120


def put_node(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """Make `text` the machine's node; its path."""
    path = folder / "node"
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return str(path)


def test_the_browser_codes_own_tests_pass() -> None:
    # An outer `node --test`, or options for it, must not change what these tests do.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
    done = subprocess.run(
        [*node.node(), "--test", "--test-reporter=spec", *map(str, TESTS)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    print(done.stdout + done.stderr)
    assert done.returncode == 0
    passed = re.search(r"pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 100


def test_every_module_without_a_page_has_tests() -> None:
    pure = {path.stem for path in (ROOT / "static").glob("*.js") if "No DOM here." in path.read_text(encoding="utf-8")}
    assert {"curves", "x-grid", "chart-format", "chart-ranges", "crosshair-math"} <= pure
    assert pure <= {path.name.removesuffix(".test.js") for path in TESTS}


def test_a_new_enough_node_of_the_machine_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_node(tmp_path, monkeypatch, "#!/bin/sh\necho v20.1.0\n")
    assert node.node() == [path]


@pytest.mark.parametrize("broken", ["#!/bin/sh\necho v18.20.4\n", "#!/bin/sh\nexit 1\n", "#!/no/such/interpreter\n"])
def test_an_old_or_broken_node_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    put_node(tmp_path, monkeypatch, broken)
    assert node.node() == [sys.executable, "-c", node.CALL_WHEEL_NODE]


def test_without_a_node_that_of_the_python_package_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node.node() == [sys.executable, "-c", node.CALL_WHEEL_NODE]


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert node.main(["serve"]) == 2
    assert "install|lint" in capsys.readouterr().err

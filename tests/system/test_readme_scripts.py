"""The README's examples for the command line and for Python are run as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli import cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(section: str, language: str) -> list[str]:
    """The examples of a section, without their fences."""
    text = README.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


COMMANDS = [
    line.partition(" #")[0].strip() for block in blocks("From the command line", "bash") for line in block.splitlines()
]
SCRIPTS = blocks("From Python", "python")


def test_there_are_examples() -> None:
    assert len(COMMANDS) > 10
    assert len(SCRIPTS) == 4


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one_with_flags_that_it_has(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "runyard"
    command: Any = get_command(cli)
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(command.name, words)


def test_the_python_examples_run_one_after_the_other(yard: Any, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    said = []
    for number, script in enumerate(SCRIPTS):
        file = tmp_path / f"example_{number}.py"
        file.write_text(script)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(file)],
            cwd=tmp_path,
            env=environment | {"RUNYARD_URL": yard.address},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    launched, listed, compared, awaited = said
    assert [line.partition(":")[0] for line in launched.splitlines()[:3]] == ["step 9", "step 18", "step 27"]
    assert re.search(rf"^succeeded 0\.\d+ {yard.address}/runs/r_\w+$", launched, re.M)
    assert listed.count(" · digits ") == len(listed.splitlines()) > 0
    assert re.search(r"^simple_cnn tiny +2 +\d+\.\d\d ± \d+\.\d\d %", compared, re.M)
    assert "422 no size 'enormous' for simple_cnn; sizes: tiny, small" in compared
    assert re.match(r"^\[0\.\d+, 0\.\d+\]$", awaited)

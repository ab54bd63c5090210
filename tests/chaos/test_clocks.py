"""Clocks that are set apart, in a real process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.clocks import Clocks

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def clock_of(clocks: Clocks, word: str) -> float:
    """The time that a process with this word in its command line says it is, relative to the real one, in seconds."""
    environment = {**os.environ, **clocks.environment}
    command = [sys.executable, "-c", "import time; print(time.time())", word]
    before = time.time()
    said = float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    return said - before


def test_one_partys_clock_is_wrong_until_it_is_set_right(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    clocks.set("recorder", -3600)
    assert -3600 <= clock_of(clocks, "recorder") < -3000
    assert 0 <= clock_of(clocks, "server") < 600
    assert 0 <= clock_of(clocks, "anything") < 600
    assert clocks.reads("recorder") > 0
    assert clocks.reads("server") == 0
    clocks.set("recorder", 0)
    assert 0 <= clock_of(clocks, "recorder") < 600
    clocks.close()


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="without a C compiler"):
        Clocks(tmp_path)

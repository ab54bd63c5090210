"""The environment settings of a trainer process have their effect, and never overwrite the user's."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from worker.process import SETTINGS, prepare

# Page faults of the process while it takes, fills and gives back 64 MB twenty times.
FAULTS = """
import resource
import numpy as np
np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(settings: dict[str, str]) -> int:
    without = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(command, env=without | settings, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_memory_that_was_freed_is_taken_again_without_asking_the_system() -> None:
    assert _faults(SETTINGS) < 100 < _faults({})


def test_what_the_environment_says_already_is_kept() -> None:
    environment = {"MALLOC_MMAP_MAX_": "7"}
    prepare(environment)
    assert environment == SETTINGS | {"MALLOC_MMAP_MAX_": "7"}

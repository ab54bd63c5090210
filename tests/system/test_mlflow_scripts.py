"""Training scripts leave the same in Runyard as in MLflow's own store: parameters, points, tags, models and files."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_scripts.comparison import differences
from tests.mlflow_scripts.running import SCRIPTS, Runner, Script
from tests.system.running_yard import OFFLINE

ENVIRONMENT = os.environ.get("RUNYARD_MLFLOW_ENVIRONMENT", "")
QUICK = ("argparse_loop", "logged_models", "nested_runs", "unusual_values")
"""Scripts of every run of the suite: each takes many seconds, since it imports MLflow five times."""
PYTHON = str(Path(ENVIRONMENT) / "bin" / "python") if ENVIRONMENT else sys.executable


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Runs scripts in the environment that the variable names, or else in that of the tests, with mlflow-skinny."""
    return Runner(PYTHON, tmp_path_factory.mktemp("scripts"), OFFLINE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_leaves_the_same_as_in_mlflows_own_store(yard: Any, runner: Runner, script: Script) -> None:
    missing = [] if ENVIRONMENT else [name for name in script.needs if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}; python -m tests.mlflow_scripts runs it, see CONTRIBUTING.md")
    if not ENVIRONMENT and script.name not in QUICK:
        pytest.skip("python -m tests.mlflow_scripts runs it, see CONTRIBUTING.md")
    own = runner.told(script.name, runner.own_store(script.name))
    here = runner.told(script.name, yard.address)
    assert len(own) > 10
    found = differences(own, here)
    assert not found, f"{len(found)} of {len(own | here)} facts differ\n" + "\n".join(found)

"""The scripts, what each of them needs, and what a store has after one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mlflow_scripts.comparison import Facts, facts

HERE = Path(__file__).parent

# One thread and one order of everything: a script gives the same bytes each time.
REPEATABLE = {
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "torch",
    "MPLBACKEND": "Agg",
    # MLflow would import each model in a process, which takes half a minute, to find what it needs; on a slow machine
    # it gives that up after a while, and takes the default that it takes at once here.
    "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1",
}
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_OFFLINE": "1",
}
OPEN = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_experiments()"


@dataclass(frozen=True)
class Script:
    """A script in scripts/, and the modules that it needs besides mlflow-skinny and what Runyard itself needs."""

    name: str
    needs: tuple[str, ...] = ()


SCRIPTS = (
    Script("argparse_loop"),
    Script("fit_with_callbacks"),
    Script("keras_autolog", ("keras",)),
    Script("keras_fit", ("keras",)),
    Script("lightning_autolog"),
    Script("lightning_logger"),
    Script("logged_files", ("matplotlib",)),
    Script("logged_models"),
    Script("nested_configuration", ("omegaconf",)),
    Script("nested_runs"),
    Script("optuna_study"),
    Script("pytorch_autolog", ("tensorboard",)),
    Script("sklearn_autolog", ("matplotlib",)),
    Script("sklearn_pipeline"),
    Script("system_metrics"),
    Script("trainer_callback"),
    Script("transformers_trainer", ("transformers", "accelerate")),
    Script("unusual_values"),
    Script("xgboost_autolog", ("xgboost",)),
)


class Runner:
    """Runs scripts with a Python, in a folder of their own with these environment variables."""

    def __init__(self, python: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.python = python
        self.folder = folder
        self.variables = {**os.environ, **variables, **REPEATABLE, **QUIET}
        self.empty = folder / "empty.db"

    def own_store(self, script: str) -> str:
        """The address of an empty SQLite store of MLflow itself, copied because it takes seconds to make."""
        if not self.empty.exists():
            self._run("-c", OPEN, f"sqlite:///{self.empty}", cwd=self.folder)
        shutil.copyfile(self.empty, self.folder / f"{script}.db")
        return f"sqlite:///{self.folder}/{script}.db"

    def told(self, script: str, store: str) -> Facts:
        """Run a script against a store, and return what MLflow's client then reads there.

        The folder is the same for all stores, since parameters and pickles contain paths.
        """
        work = self.folder / "work"
        work.mkdir()
        try:
            self._run(str(HERE / "scripts" / f"{script}.py"), store=store, cwd=work)
            (work / "read").mkdir()
            self._run(str(HERE / "read_back.py"), script, str(work / "read"), store=store, cwd=work)
            return facts(script, work / "read")
        finally:
            shutil.rmtree(work)

    def _run(self, *words: str, cwd: Path, store: str = "") -> None:
        environment = self.variables | {"MLFLOW_TRACKING_URI": store}
        done = subprocess.run(
            [self.python, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]

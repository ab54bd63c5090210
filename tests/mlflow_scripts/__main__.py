"""Run the scripts with all libraries: make an environment with MLflow itself, then run the differential test in it.

``python -m tests.mlflow_scripts --environment DIR``; further words go to pytest, such as ``-k keras``. The environment
uses what is installed for Runyard, torch above all, and needs about 700 MB of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.mlflow_scripts.running import HERE

REQUIREMENTS = HERE / "requirements.txt"
TEST = "tests/system/test_mlflow_scripts.py"


def make(environment: Path) -> None:
    """Make an environment, unless it has been made of the same requirements."""
    stamp, wanted = environment / "requirements.txt", REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", place], check=True, capture_output=True, text=True).stdout.strip()
    # Searched after the environment's own packages.
    (Path(packages) / "runyard_packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    subprocess.run([str(python), *install], check=True)
    stamp.write_text(wanted)


def main() -> None:
    """Make the environment, and become pytest."""
    parser = argparse.ArgumentParser(prog="python -m tests.mlflow_scripts", description=__doc__.splitlines()[0])
    parser.add_argument("--environment", type=Path, required=True, metavar="DIR", help="folder of the environment")
    options, words = parser.parse_known_args()
    environment = options.environment.resolve()
    make(environment)
    os.environ["RUNYARD_MLFLOW_ENVIRONMENT"] = str(environment)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-n", "0", TEST, *words])


if __name__ == "__main__":
    main()

"""Runyard's version, and the start of the `runyard` program.

A checkout has this module beside `app`, `models`, `worker`, `templates` and `static`. A wheel has all of them in one
folder, `_runyard`, with this module as its `__init__.py`, so that no other package's name is taken.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

__version__ = "0.2.0"

HOME = Path(__file__).resolve().parent


def main() -> None:
    """Run the `runyard` program."""
    use_own_packages()
    # By their names: these packages are found only now, and the command line takes its version from here.
    with import_module("app.contract.process").imports_without_gc():
        cli = import_module("app.cli")
    cli.main()


def use_own_packages() -> None:
    """Import `app`, `models` and `worker` from HOME, here and in child processes, whatever the current folder has."""
    sys.path.insert(0, str(HOME))
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HOME), given] if given else [str(HOME)])
    # Without it, `python -m` and `python -c` search the current folder first.
    os.environ["PYTHONSAFEPATH"] = "1"

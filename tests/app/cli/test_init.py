"""The program as a whole: what it says of itself, and what it does not need for that."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

from app.cli import cli
from tests.app.cli.conftest import Said


def test_the_version_is_that_of_the_package(runyard: Said) -> None:
    done = runyard("--version")
    assert (done.exit_code, done.stdout) == (0, f"runyard {version('runyard')}\n")


def test_help_names_every_command_and_is_shown_where_none_is_given(runyard: Said) -> None:
    names = ("up", "launch", "architectures", "server", "recorder", "worker")
    assert [each.callback.__name__ for each in cli.registered_commands if each.callback] == list(names)
    for words in (["--help"], []):
        said = runyard(*words).output
        assert all(f" {name} " in said for name in names)


def test_nothing_heavy_is_imported_before_a_command_needs_it() -> None:
    code = "import sys, app.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    heavy = {
        "torch",
        "lightning",
        "fastapi",
        "starlette",
        "sqlalchemy",
        "redis",
        "celery",
        "uvicorn",
        "numpy",
        "models",
    }
    assert not heavy & set(loaded)

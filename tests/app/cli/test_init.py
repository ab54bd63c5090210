"""The program as a whole: version, help, common options, and what importing it does not load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from _runyard import __version__
from app.cli import cli
from app.cli.suggestion import SUGGESTIONS
from tests.app.cli.conftest import Command


def test_the_version_is_that_of_the_package(runyard: Command) -> None:
    done = runyard("--version")
    assert (done.exit_code, done.stdout) == (0, f"runyard {__version__}\n")


def test_help_names_every_command_and_is_shown_where_none_is_given(runyard: Command) -> None:
    names = (
        *("up", "launch", "exec"),
        *("ls", "show", "watch", "logs", "compare", "export", "files", "predict"),
        *("evaluate", "robustness", "export-model"),
        *("cancel", "change", "retry", "resume", "clone", "fork", "rm", "import", "sync"),
        *("architectures", "datasets", "presets", "workers", "doctor"),
        *("backup", "restore", "prune"),
        *("login", "logout", "whoami", "audit"),
        "join",
        *("server", "recorder", "worker", "move-database"),
    )
    commands = [each for each in cli.registered_commands if each.callback]
    assert [each.name or each.callback.__name__ for each in commands if each.callback] == list(names)
    groups = ["sweep", "program", "queue", "alias", "dataset", "user", "token", "worker-token"]
    assert [each.name for each in cli.registered_groups] == groups
    for words in (["--help"], []):
        said = runyard(*words).output
        assert all(f" {name} " in said for name in (*names, *groups))


def test_a_word_of_other_programs_suggests_the_command_of_that_meaning(runyard: Command) -> None:
    commands = {" ".join(words) for words, _ in every_command(get_command(cli))}
    assert set(SUGGESTIONS.values()) <= commands
    assert not commands & set(SUGGESTIONS)
    done = runyard("runs", "--status", "failed")
    assert done.exit_code == 2
    assert "No such command 'runs'. Did you mean 'ls'?" in done.output
    assert "'launch'" in runyard("lanch").output


def every_command(group: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Iterate over all commands with the words that call them."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, *above, name)
        yield (*above, name), command


def test_whatever_talks_to_a_server_prints_json_and_can_be_pointed_at_another_server() -> None:
    groups = ("sweep", "program", "dataset", "alias", "user", "token", "worker-token")
    # The first two look at this machine, the next two name a server, and the others read the data folder.
    without_url = ("architectures", "doctor", "login", "logout", "backup", "restore", "move-database")
    for words, command in every_command(get_command(cli)):
        options = {option for parameter in command.params for option in parameter.opts}
        if words[0] in ("up", "server", "recorder", "worker", "join") or (len(words) == 1 and words[0] in groups):
            continue
        assert "--json" in options, words
        assert "--url" in options or words[0] in without_url, words
        assert command.help, words


def test_the_shell_can_be_taught_to_complete(runyard: Command) -> None:
    assert "--install-completion" in runyard("--help").output


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
        "httpx",
        "rich",
        "runyard",
    }
    assert not heavy & set(loaded)

"""The pre-commit configuration: its hooks run what `make lint` runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
HOOKS: list[dict[str, Any]] = [hook for repo in CONFIGURATION["repos"] for hook in repo["hooks"]]
# The keys of pre-commit's schema that local hooks may have and that are used here.
KNOWN_KEYS = {"id", "name", "entry", "language", "types", "pass_filenames"}


def lint_commands() -> list[str]:
    """The commands of `make lint`."""
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    return [line.lstrip("\t@") for line in recipe[1].splitlines()]


def test_the_hooks_run_the_commands_of_make_lint() -> None:
    assert [hook["entry"] for hook in HOOKS] == lint_commands()


def test_every_hook_is_local_and_fetches_nothing() -> None:
    assert set(CONFIGURATION) == {"repos"}
    assert [repo["repo"] for repo in CONFIGURATION["repos"]] == ["local"]
    for hook in HOOKS:
        assert {"id", "name", "entry", "language"} <= set(hook) <= KNOWN_KEYS
        assert hook["language"] == "system"
        assert hook["pass_filenames"] is False
    assert len({hook["id"] for hook in HOOKS}) == len(HOOKS)

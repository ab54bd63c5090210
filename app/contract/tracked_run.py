"""Configuration of a run that is trained by a script: only what the script logged, and the command that started it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.contract.command import command_line, command_title
from app.contract.spec import RunConfig


class LoggedConfig(RunConfig):
    """A RunConfig whose ``options`` are the logged parameters.

    Everything that the script did not log is None: nothing is validated, and nothing is made up.
    """

    @property
    def dataset_name(self) -> str:
        """What the script called its dataset."""
        return self.dataset

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> LoggedConfig:
        """Create the configuration from the saved fields of a tracked run."""
        return cls.model_construct(**(_UNSET | dict(saved) | logged_settings(saved.get("options", {}))))


class CommandConfig(LoggedConfig):
    """The configuration of a run that executes a command; ``options`` are the parameters that the command logs.

    ``argv`` is without secrets, for display. ``template``: the same with placeholders, if it has any, and ``values``
    what stands in for them. ``variables``: names of the environment variables that were set for it. ``program``: the
    name of the program that was launched, "" for a command; ``program_values``: the values of its fields as text, and
    ``program_title`` its short name with the changed ones.
    """

    argv: list[str]
    template: list[str] = Field(default_factory=list)
    values: dict[str, str] = Field(default_factory=dict)
    folder: str
    variables: list[str]
    restarts: int
    program: str = ""
    program_title: str = ""
    program_values: dict[str, str] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name of the run, or else its program with changed values, or its command line."""
        return self.name or self.program_title or command_title(self.argv)

    @property
    def template_title(self) -> str:
        """The same with placeholders in place of their values."""
        return self.name or self.program_title or command_title(self.template or self.argv)

    @property
    def line(self) -> str:
        """The command line, without secrets."""
        return command_line(self.argv)

    @property
    def template_line(self) -> str:
        """The same with placeholders in place of their values, which are parameters of their own."""
        return command_line(self.template or self.argv)


_UNSET: dict[str, Any] = dict.fromkeys(RunConfig.model_fields) | {
    "options": {},
    "tags": [],
    # A single head without a name reports val/acc, not val/digit/acc.
    "targets": [""],
    "name": "",
    "notes": "",
    "priority": 0,
    "size": "",
    "dataset": "",
    "recipe": "",
    "device": "",
    "worker": "",
}
_SETTING_TYPES = {"lr": float, "weight_decay": float, "epochs": int, "batch_size": int, "seed": int}


def logged_settings(parameters: Mapping[str, Any]) -> dict[str, int | float]:
    """Return the logged parameters that have the name and the number type of a setting."""
    settings: dict[str, int | float] = {}
    for name, kind in _SETTING_TYPES.items():
        try:
            value = kind(str(parameters[name]))
        except (KeyError, ValueError, OverflowError):
            continue
        if math.isfinite(value) and 0 <= value < 2**53:
            settings[name] = value
    return settings

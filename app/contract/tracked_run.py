"""What is known of a run that was trained elsewhere: only what its script said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from app.contract.spec import RunConfig


class LoggedConfig(RunConfig):
    """A RunConfig whose ``options`` are the parameters that a script logged, and in which all that it did not say is
    None: nothing is validated, and nothing is made up.
    """

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> LoggedConfig:
        """From what is kept of such a run."""
        return cls.model_construct(**(_UNSAID | dict(said) | logged_settings(said.get("options", {}))))


_UNSAID: dict[str, Any] = dict.fromkeys(RunConfig.model_fields) | {
    "options": {},
    "tags": [],
    # One head that has no name: what it reports is val/acc, not val/digit/acc.
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
_READ_AS = {"lr": float, "weight_decay": float, "epochs": int, "batch_size": int, "seed": int}


def logged_settings(parameters: Mapping[str, Any]) -> dict[str, int | float]:
    """Those parameters that have the very name of a setting and are a number as that setting is."""
    found: dict[str, int | float] = {}
    for name, kind in _READ_AS.items():
        try:
            value = kind(str(parameters[name]))
        except (KeyError, ValueError, OverflowError):
            continue
        if math.isfinite(value) and 0 <= value < 2**53:
            found[name] = value
    return found

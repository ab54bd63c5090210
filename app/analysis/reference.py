"""Reference results: what this project measured with its own recipes, shown apart from the user's own runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from _runyard import HOME
from app.contract.recipes import RECIPES, recipe_settings
from app.contract.spec import RunConfig
from app.web.formatting import format_duration, format_setting

FILE = HOME / "bench" / "results" / "zoo.json"
"""Written by ``python -m bench zoo``."""

logger = logging.getLogger("runyard.reference")


class Reference(BaseModel):
    """Mean test accuracy (0 to 1) of a recipe over ``seeds`` runs, ± ``half``: half the width of its 95% interval.

    ``seconds``: median training time of a run; ``estimated`` from one epoch if the runs themselves were made beside
    other work; None if neither was measured. ``machine``: what it was measured on. ``data``: how the images were
    stored, if not in the official files. ``settings``: training settings other than the recipe's, besides the epochs.
    """

    model_config = ConfigDict(frozen=True)

    family: str
    size: str
    dataset: str
    recipe: str
    epochs: int
    seeds: int
    mean: float
    half: float | None
    seconds: float | None
    machine: str
    date: str
    data: str = ""
    estimated: bool = False
    settings: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The result, such as "98.16 ± 0.05%"."""
        interval = "" if self.half is None else f" ± {100 * self.half:.2f}"
        return f"{100 * self.mean:.2f}{interval}%"

    @property
    def brief(self) -> str:
        """How it was trained, such as "fast, 5 epochs, 3 seeds"."""
        epochs = f"{self.epochs} epoch{'s' if self.epochs != 1 else ''}"
        settings = [f"{name.replace('_', ' ')} {format_setting(value)}" for name, value in self.settings.items()]
        return ", ".join([self.recipe, epochs, *settings, f"{self.seeds} seed{'s' if self.seeds != 1 else ''}"])

    @property
    def about(self) -> str:
        """How it was measured, in one sentence."""
        data = f", {self.data}" if self.data else ""
        of = "; about {} per run, from the time of one epoch," if self.estimated else "; {} per run"
        time = "" if self.seconds is None else of.format(format_duration(self.seconds))
        return f"Measured by the Runyard project on {self.date}: recipe {self.brief}{data}{time} on {self.machine}"

    @property
    def training(self) -> dict[str, Any]:
        """What to launch for the same training: the recipe, and what is not its own."""
        if self.recipe not in RECIPES:
            return {}
        own = recipe_settings(self.recipe, self.family, self.dataset)["epochs"]
        return {"recipe": self.recipe} | ({} if own == self.epochs else {"epochs": self.epochs}) | self.settings


def references() -> Mapping[tuple[str, str, str], Reference]:
    """The best result by family, size and dataset: that with the highest lower bound of its interval."""
    return {(each.family, each.size, each.dataset): each for each in _read(FILE)}


def reference_of(config: RunConfig) -> Reference | None:
    """The result of a network on a dataset with the recipe of ``config``, else the best with another recipe."""
    network = (config.family, config.size, config.dataset)
    own = [
        each for each in _read(FILE) if (each.family, each.size, each.dataset, each.recipe) == (*network, config.recipe)
    ]
    return own[-1] if own else references().get(network)


@lru_cache(maxsize=4)
def _read(file: Path) -> tuple[Reference, ...]:
    """All results, the best last."""
    try:
        found = [Reference.model_validate(row) for row in _rows(file)]
    except FileNotFoundError:
        # Nothing has been measured yet, as in a copy without results: not worth a warning.
        return ()
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        logger.warning("cannot read the reference results in %s: %s", file, error)
        return ()
    # What too few runs were made of to have an interval is shown only where there is nothing else.
    return tuple(sorted(found, key=lambda each: (each.half is not None, each.mean - (each.half or 0))))


def _rows(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["references"]
    return rows

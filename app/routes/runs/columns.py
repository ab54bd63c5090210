"""The columns that the run table can have: what a run is, any of its settings, any figure of any metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.column import Column
from app.contract.spec import RunConfig
from app.facts import Facts
from app.rendering import count, metric_value, moment, setting, short, span
from app.store.metric import Summary
from app.store.order import COLUMNS as SORTABLE

STANDARD = ("status", "family", "size", "dataset", "params", "val/acc", "curve", "test/acc", "duration", "started")
WIDE = ("family", "size", "dataset", "params")
FIGURES = ("best", "last", "min", "max")
TITLES = {"params": "parameters", "val/acc": "best val/acc", "batch_size": "batch", "lr": "learning rate"}
OWN = ("status", "params", "duration", "started", "created", "ended", "attempt", "device", "worker", "tags", "notes")
SPEED = ("images_a_second", "peak_memory")
UNSHOWN = ("name", "options", "preset")


@dataclass(frozen=True)
class Shown(Column):
    """A column with what stands in its cells; ``kind`` says which cells the template makes itself."""

    kind: str = ""

    @property
    def sortable(self) -> bool:
        """Whether the table can be sorted by it."""
        return self.key in SORTABLE or ("/" in self.key and self.key.rpartition(".")[2] not in FIGURES)

    def cell(self, facts: Facts, summary: dict[str, Summary]) -> str | Markup:
        """What a run has there, in words."""
        run = facts.run
        match self.key:
            case "params":
                return count(run.params)
            case "duration":
                return span(facts.seconds)
            case "started" | "created" | "ended":
                at = run.row[f"{self.key}_at"]
                return moment(at) if at is not None else "–"
            case "tags":
                return ", ".join(run.tags) or "–"
            case "images_a_second":
                return short(facts.samples_per_second)
            case "peak_memory":
                return "–" if facts.peak_memory_mb is None else f"{short(facts.peak_memory_mb * 1e6)}B"
            case "val/acc":
                return metric_value("acc", facts.val_acc)
            case "test/acc":
                return metric_value("acc", facts.test_acc)
        if "/" in self.key:
            return _of_metric(self.key, summary)
        if self.key.startswith("option."):
            return setting(run.config.options.get(self.key.removeprefix("option.")))
        if self.key in run.row and self.key not in RunConfig.model_fields:
            return setting(run.row[self.key])
        return setting(getattr(run.config, self.key, None))


def _of_metric(key: str, summary: dict[str, Summary]) -> str:
    name, _, which = key.rpartition(".")
    if which not in FIGURES:
        name, which = key, "best"
    found = summary.get(name)
    return "–" if found is None else metric_value(name, getattr(found, which))


def columns_of(said: str) -> list[Shown]:
    """The columns behind the run's own, by their keys and commas; those that cannot be are left out."""
    keys = [key for key in said.split(",") if key] or list(STANDARD)
    return [Shown("number", "run", first="-", kind="run"), *(_column(key) for key in keys if possible(key))]


def possible(key: str) -> bool:
    """Whether there can be such a column."""
    return "/" in key or key.startswith("option.") or key in (*OWN, *SPEED, "curve", *RunConfig.model_fields)


def _column(key: str) -> Shown:
    title = TITLES.get(key, key.replace("_", " "))
    if key in ("status", "curve"):
        return Shown(key, title, kind=key)
    words = key in ("family", "size", "dataset", "recipe", "tags", "notes", "device", "worker", "optimizer", "schedule")
    css = " ".join(part for part in ("" if words else "n", "wide-only" if key in WIDE else "") if part)
    downwards = "/" in key or key in ("duration", "started", "created", "ended")
    return Shown(key, title, css, "-" if downwards else "")


@dataclass(frozen=True)
class Choice:
    """A box of the column chooser."""

    key: str
    title: str
    chosen: bool


def offered(metrics: Sequence[str], said: str) -> list[tuple[str, list[Choice]]]:
    """Everything that can be chosen, by what it is about; what is chosen comes first, in its order."""
    chosen = [column.key for column in columns_of(said)[1:]]
    settings = [name for name in RunConfig.model_fields if name not in (*UNSHOWN, *OWN, "family", "size", "dataset")]
    groups: dict[str, list[str]] = {
        "shown": chosen,
        "run": [*(key for key in STANDARD if "/" not in key), *(key for key in OWN if key not in STANDARD), *SPEED],
        "settings": settings,
        "metrics": [name for metric in metrics for name in (metric, f"{metric}.last")],
    }
    return [
        (title, [Choice(key, _column(key).title, True) for key in keys])
        if title == "shown"
        else (title, [Choice(key, _column(key).title, False) for key in keys if key not in chosen])
        for title, keys in groups.items()
    ]

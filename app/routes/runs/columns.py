"""The columns that the run table can have: what a run is, any of its settings, any figure of any metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.contract.spec import RunConfig
from app.store.metric import Summary
from app.store.search.sorting import COLUMNS as SORTABLE
from app.store.search.sorting import MOST_KEYS, keys_of, metric_figure
from app.web.formatting import count, format_duration, format_setting, format_short, metric_value, time_tag
from app.web.run_summary import RunSummary
from app.web.sort_column import Column

STANDARD = ("status", "family", "size", "dataset", "params", "val/acc", "curve", "test/acc", "duration", "started")
WIDE = ("family", "size", "dataset", "params")
FIGURES = ("best", "last", "min", "max")
TITLES = {"params": "parameters", "batch_size": "batch", "lr": "learning rate"}
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
        return self.key in SORTABLE or "/" in self.key

    def rank(self, sort: str) -> int:
        """Its place among the keys of a sort, from 1; 0 where it is none of them."""
        keys = [key.lstrip("-") for key in keys_of(sort)]
        return keys.index(self.key) + 1 if self.key in keys else 0

    def own(self, sort: str) -> str:
        """Its own key in a sort, "" where it has none."""
        return next((key for key in keys_of(sort) if key.lstrip("-") == self.key), "")

    def toggled(self, sort: str) -> str:
        """The sort after a click: by this column alone, the other way round where it was already first."""
        return super().toggled(self.own(sort)) if self.rank(sort) == 1 else self.first + self.key

    def added(self, sort: str) -> str:
        """The sort after a click with shift: this column orders what is equal in those before it."""
        keys = keys_of(sort)
        if self.rank(sort):
            return ",".join(super(Shown, self).toggled(key) if key == self.own(sort) else key for key in keys)
        return ",".join([*keys[: MOST_KEYS - 1], self.first + self.key])

    def order(self, sort: str) -> str:
        """For ``aria-sort`` and its arrow."""
        return super().order(self.own(sort))

    def cell(self, facts: RunSummary, summary: dict[str, Summary]) -> str | Markup:
        """What a run has there, in words."""
        run = facts.run
        match self.key:
            case "params":
                return count(run.params)
            case "duration":
                return format_duration(facts.seconds)
            case "started" | "created" | "ended":
                at = run.row[f"{self.key}_at"]
                return time_tag(at) if at is not None else "–"
            case "tags":
                return ", ".join(run.tags) or "–"
            case "images_a_second":
                return format_short(facts.samples_per_second)
            case "peak_memory":
                return "–" if facts.peak_memory_mb is None else f"{format_short(facts.peak_memory_mb * 1e6)}B"
            case "val/acc":
                return metric_value("acc", facts.val_acc)
            case "test/acc":
                return metric_value("acc", facts.test_acc)
        if "/" in self.key:
            return _of_metric(self.key, summary)
        if self.key.startswith("option."):
            return format_setting(run.config.options.get(self.key.removeprefix("option.")))
        if self.key in run.row and self.key not in RunConfig.model_fields:
            return format_setting(run.row[self.key])
        return format_setting(getattr(run.config, self.key, None))


def _of_metric(key: str, summary: dict[str, Summary]) -> str:
    name, which = metric_figure(key)
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
    title = title_of(key)
    if key in ("status", "curve"):
        return Shown(key, title, kind=key)
    words = key in ("family", "size", "dataset", "recipe", "tags", "notes", "device", "worker", "optimizer", "schedule")
    css = " ".join(part for part in ("" if words else "n", "wide-only" if key in WIDE else "") if part)
    downwards = "/" in key or key in ("duration", "started", "created", "ended")
    return Shown(key, title, css, "-" if downwards else "")


def title_of(key: str) -> str:
    """The heading of a column; of a metric it says which figure it is, but for what is measured once."""
    if "/" not in key:
        return TITLES.get(key, key.removeprefix("option.").replace("_", " "))
    name, which = metric_figure(key)
    return name if which == "best" and name.startswith("test/") else f"{which} {name}"


@dataclass(frozen=True)
class Choice:
    """A box of the column chooser; ``short`` is what stands beside it."""

    key: str
    title: str
    chosen: bool
    short: str = ""


def offered(metrics: Sequence[str], said: str) -> list[tuple[str, list[Choice]]]:
    """Everything that can be chosen, by what it is about; what is chosen comes first, in its order."""
    chosen = [column.key for column in columns_of(said)[1:]]
    settings = [name for name in RunConfig.model_fields if name not in (*UNSHOWN, *OWN, "family", "size", "dataset")]
    groups: dict[str, list[str]] = {
        "run": [*(key for key in STANDARD if "/" not in key), *(key for key in OWN if key not in STANDARD), *SPEED],
        "settings": settings,
    }
    found = [("shown", [Choice(key, title_of(key), True, title_of(key)) for key in chosen])]
    for title, keys in groups.items():
        found.append((title, [Choice(key, title_of(key), False, title_of(key)) for key in keys if key not in chosen]))
    for metric in metrics:
        keys = [metric if which == "best" else f"{metric}.{which}" for which in FIGURES]
        titles = zip(keys, FIGURES, strict=True)
        found.append(
            (metric, [Choice(key, f"{which} {metric}", False, which) for key, which in titles if key not in chosen])
        )
    return found

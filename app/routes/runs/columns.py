"""Columns of the run table: run fields, settings, and any statistic of any metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.contract.spec import RunConfig
from app.routes.launch.field_groups import LABELS
from app.store.metric import Summary
from app.store.search.sorting import COLUMNS as SORTABLE
from app.store.search.sorting import MAX_KEYS, keys_of, metric_figure
from app.web.formatting import (
    count,
    format_bytes,
    format_duration,
    format_setting,
    format_short,
    metric_value,
    time_tag,
)
from app.web.run_summary import RunSummary
from app.web.sort_column import Column

STANDARD = ("status", "family", "size", "dataset", "params", "val/acc", "curve", "test/acc", "duration", "started")
WIDE = ("family", "size", "dataset", "params")
STATISTICS = ("best", "last", "min", "max")
TITLES = {
    "params": "parameters",
    "images_a_second": "images/s",
    "peak_memory": "peak memory",
    "variant": "configuration",
}
RUN_FIELDS = (
    "status",
    "params",
    "duration",
    "started",
    "created",
    "ended",
    "attempt",
    "device",
    "worker",
    "tags",
    "notes",
)
SPEED = ("images_a_second", "peak_memory")
HIDDEN = ("name", "options", "preset")


@dataclass(frozen=True)
class TableColumn(Column):
    """A column of the run table; ``kind`` names the columns whose cells the template renders itself."""

    kind: str = ""

    @property
    def sortable(self) -> bool:
        """Whether the table can be sorted by this column."""
        return self.key in SORTABLE or "/" in self.key

    def rank(self, sort: str) -> int:
        """Return the position of this column among the sort keys, from 1; 0 if it is not one of them."""
        keys = [key.lstrip("-") for key in keys_of(sort)]
        return keys.index(self.key) + 1 if self.key in keys else 0

    def own_key(self, sort: str) -> str:
        """Return this column's key in a sort, "" if it has none."""
        return next((key for key in keys_of(sort) if key.lstrip("-") == self.key), "")

    def toggled(self, sort: str) -> str:
        """Return the sort after a click: by this column alone, reversed if it was already the first key."""
        return super().toggled(self.own_key(sort)) if self.rank(sort) == 1 else self.first + self.key

    def added(self, sort: str) -> str:
        """Return the sort after a Shift-click: this column is added as a tie-breaker."""
        keys = keys_of(sort)
        if self.rank(sort):
            return ",".join(super(TableColumn, self).toggled(key) if key == self.own_key(sort) else key for key in keys)
        return ",".join([*keys[: MAX_KEYS - 1], self.first + self.key])

    def order(self, sort: str) -> str:
        """Return the sort direction for ``aria-sort`` and the arrow."""
        return super().order(self.own_key(sort))

    def cell(self, run_summary: RunSummary, summary: dict[str, Summary]) -> str | Markup:
        """Return the text of this column's cell for a run."""
        run = run_summary.run
        match self.key:
            case "params":
                return count(run.params)
            case "duration":
                return format_duration(run_summary.seconds)
            case "started" | "created" | "ended":
                at = run.row[f"{self.key}_at"]
                return time_tag(at) if at is not None else "–"
            case "tags":
                return ", ".join(run.tags) or "–"
            case "images_a_second":
                return format_short(run_summary.samples_per_second)
            case "peak_memory":
                megabytes = run_summary.peak_memory_mb
                return "–" if megabytes is None else format_bytes(round(megabytes * 1e6), 1000)
            case "val/acc":
                return metric_value("acc", run_summary.val_acc)
            case "test/acc":
                return metric_value("acc", run_summary.test_acc)
        if "/" in self.key:
            return _metric_cell(self.key, summary)
        if self.key.startswith("option."):
            return format_setting(run.config.options.get(self.key.removeprefix("option.")))
        if self.key in run.row and self.key not in RunConfig.model_fields:
            return format_setting(run.row[self.key])
        return format_setting(getattr(run.config, self.key, None))


def _metric_cell(key: str, summary: dict[str, Summary]) -> str:
    name, statistic = metric_figure(key)
    metric = summary.get(name)
    return "–" if metric is None else metric_value(name, getattr(metric, statistic))


def parse_columns(keys: str) -> list[TableColumn]:
    """Parse comma-separated column keys into columns, after the run column; unknown keys are skipped."""
    requested = [key for key in keys.split(",") if key] or list(STANDARD)
    return [TableColumn("number", "run", first="-", kind="run"), *(_column(key) for key in requested if is_column(key))]


def is_column(key: str) -> bool:
    """Whether a column with this key can exist."""
    return "/" in key or key.startswith("option.") or key in (*RUN_FIELDS, *SPEED, "curve", *RunConfig.model_fields)


def _column(key: str) -> TableColumn:
    title = title_of(key)
    if key in ("status", "curve"):
        return TableColumn(key, title, kind=key)
    is_text = key in (
        "family",
        "size",
        "dataset",
        "recipe",
        "tags",
        "notes",
        "device",
        "worker",
        "optimizer",
        "schedule",
    )
    css = " ".join(part for part in ("" if is_text else "n", "wide-only" if key in WIDE else "") if part)
    descending = "/" in key or key in ("duration", "started", "created", "ended")
    return TableColumn(key, title, css, "-" if descending else "")


def title_of(key: str) -> str:
    """Return a column heading; for metrics with the statistic, except test metrics, which have one value."""
    if "/" not in key:
        label = LABELS.get(key, "")
        return TITLES.get(key) or _in_text(label) or key.removeprefix("option.").replace("_", " ")
    name, statistic = metric_figure(key)
    return name if statistic == "best" and name.startswith("test/") else f"{statistic} {name}"


def _in_text(label: str) -> str:
    """Return a label of the launch form within a text; a name such as torch.compile keeps its spelling."""
    return label[:1].lower() + label[1:]


@dataclass(frozen=True)
class Choice:
    """A checkbox of the column chooser; ``short`` is its label."""

    key: str
    title: str
    chosen: bool
    short: str = ""


def column_choices(metrics: Sequence[str], columns: str) -> list[tuple[str, list[Choice]]]:
    """Return all available columns by topic; the selected ones come first, in their order."""
    chosen = [column.key for column in parse_columns(columns)[1:]]
    settings = [
        name for name in RunConfig.model_fields if name not in (*HIDDEN, *RUN_FIELDS, "family", "size", "dataset")
    ]
    groups: dict[str, list[str]] = {
        "run": [
            *(key for key in STANDARD if "/" not in key),
            *(key for key in RUN_FIELDS if key not in STANDARD),
            *SPEED,
        ],
        "settings": settings,
    }
    choices = [("selected", [Choice(key, title_of(key), True, title_of(key)) for key in chosen])]
    for title, keys in groups.items():
        choices.append((title, [Choice(key, title_of(key), False, title_of(key)) for key in keys if key not in chosen]))
    for metric in metrics:
        keys = [metric if statistic == "best" else f"{metric}.{statistic}" for statistic in STATISTICS]
        titles = zip(keys, STATISTICS, strict=True)
        choices.append(
            (
                metric,
                [
                    Choice(key, f"{statistic} {metric}", False, statistic)
                    for key, statistic in titles
                    if key not in chosen
                ],
            )
        )
    return choices

"""Output of commands: tables in a terminal, one line per row for programs, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

# Without a terminal, every row is one line, however long.
UNLIMITED_WIDTH = 1000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

COLORS = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "lost": "red",
    "running": "cyan",
    "finishing": "cyan",
    "starting": "cyan",
    "cancelling": "yellow",
}


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on one line. Raises ValueError for NaN and infinity."""
    print(json.dumps(value, allow_nan=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """Print a table; columns in ``right`` are right-aligned. Statuses are colored in a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    for row in rows:
        table.add_row(*(Text(cell, style=COLORS.get(cell, "")) for cell in map(to_text, row)))
    Console(width=None if sys.stdout.isatty() else UNLIMITED_WIDTH, highlight=False).print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, one per line, without empty values."""
    texts = {name: to_text(value) for name, value in fields.items() if value not in (None, "", [], {})}
    width = max(map(len, texts), default=0)
    for name, value in texts.items():
        print(f"{name:{width}}  {value}")


def to_text(value: Any) -> str:
    """Format a value as text."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(to_text, value))
        case dict():
            return ", ".join(f"{name} {to_text(item)}" for name, item in value.items())
        case _:
            return str(value)


def duration(seconds: float | None) -> str:
    """Format a duration: "48 s", "3 min 05 s", "2 h 10 min"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def local_time(timestamp: str | None) -> str:
    """Format a timestamp of the API in the local time zone, to the minute."""
    from datetime import datetime

    return f"{datetime.fromisoformat(timestamp).astimezone():%Y-%m-%d %H:%M}" if timestamp else "–"


# Runs ----------------------------------------------------------------------------------------------------------------

Run = Mapping[str, Any]
RUN_COLUMNS = ("#", "status", "run", "epoch", "val/acc", "test/acc", "time", "created", "id")
RIGHT_ALIGNED = ("#", "epoch", "val/acc", "test/acc", "time")


def run_row(run: Run) -> list[str]:
    """Format a run as a row of RUN_COLUMNS."""
    return [
        str(run["number"]),
        run["status"],
        run["title"],
        epoch_progress(run),
        *(percent(headline_value(run, stage)) for stage in ("val", "test")),
        duration(run["seconds"]),
        local_time(run["created"]),
        run["id"],
    ]


def epoch_progress(run: Run) -> str:
    """Format completed and total epochs, "3/10"; unknown for a run that was trained elsewhere."""
    progress = run["progress"]
    if run["spec"] is None:
        return "–"
    return f"{progress.get('epoch') or 0}/{progress.get('epochs') or run['spec']['epochs']}"


def headline_value(run: Run, stage: str, metric: str = "acc") -> float | None:
    """Return a run's headline value: of all heads together, else of the first head."""
    names = [f"{stage}/{metric}", *(f"{stage}/{target}/{metric}" for target in (run["spec"] or {}).get("targets", ()))]
    summary = next((run["summary"][name] for name in names if name in run["summary"]), None)
    return None if summary is None else summary["last" if stage == "test" else "best"]


def percent(value: float | None) -> str:
    """Format an accuracy in percent."""
    return "–" if value is None else f"{100 * value:.2f}%"


def run_line(run: Run, address: str) -> str:
    """Format an ended run as a line: status, name, test accuracies or reason, duration, URL."""
    if run["status"] == "deleted":
        return f"{'deleted':9}  run {run['id']}"
    parts = [f"{run['status']:9}", run_name(run)]
    if run["status"] == "succeeded":
        tested = [(name, metric["last"]) for name, metric in run["summary"].items() if name.startswith("test/")]
        parts += [f"{name} {percent(value)}" for name, value in tested if name.endswith("/acc") and value is not None]
    elif run["reason"]:
        parts.append(run["reason"])
    if run["seconds"] is not None:
        parts.append(duration(run["seconds"]))
    return "  ".join([*parts, f"{address}{run['url']}"])


def run_name(run: Run) -> str:
    """Return family, size and dataset, and the other values that the sweep chose."""
    spec = run["spec"]
    if spec is None:
        return str(run["title"])
    chosen = run.get("sweep_values") or {}
    more = [f"{name} {to_text(value)}" for name, value in chosen.items() if name not in ("family", "size", "dataset")]
    return " · ".join([f"{spec['family']} {spec['size']} · {spec['dataset']}", *more])

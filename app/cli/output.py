"""How commands print: tables for people, a line a row for programs, JSON where it is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

# Where the output is no terminal, a row is a line, however long.
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


def print_json(said: Any) -> None:
    """``said`` as JSON on one line; what is not finite is null."""
    print(json.dumps(said, allow_nan=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """A table; columns in ``right`` hold figures. The words of a state are coloured in a terminal."""
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
        table.add_row(*(Text(cell, style=COLORS.get(cell, "")) for cell in map(words, row)))
    Console(width=None if sys.stdout.isatty() else UNLIMITED_WIDTH, highlight=False).print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, a line each; what has no value is left out."""
    said = {name: words(value) for name, value in facts.items() if value not in (None, "", [], {})}
    width = max(map(len, said), default=0)
    for name, value in said.items():
        print(f"{name:{width}}  {value}")


def words(value: Any) -> str:
    """A value as people read it."""
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
            return ", ".join(map(words, value))
        case dict():
            return ", ".join(f"{name} {words(each)}" for name, each in value.items())
        case _:
            return str(value)


def span(seconds: float | None) -> str:
    """A length of time: "48 s", "3 min 05 s", "2 h 10 min"."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def moment(said: str | None) -> str:
    """A time of the API in this machine's own zone, to the minute."""
    from datetime import datetime

    return f"{datetime.fromisoformat(said).astimezone():%Y-%m-%d %H:%M}" if said else "–"


# Runs ----------------------------------------------------------------------------------------------------------------

Run = Mapping[str, Any]
RUN_COLUMNS = ("#", "status", "run", "epoch", "val/acc", "test/acc", "time", "created", "id")
RUN_FIGURES = ("#", "epoch", "val/acc", "test/acc", "time")


def run_row(run: Run) -> list[str]:
    """A run as a row of RUN_COLUMNS."""
    epochs = epochs_of(run)
    took = "–" if run["seconds"] is None else span(run["seconds"])
    shares = [share(figure_of(run, stage)) for stage in ("val", "test")]
    return [str(run["number"]), run["status"], run["title"], epochs, *shares, took, moment(run["created"]), run["id"]]


def epochs_of(run: Run) -> str:
    """How many epochs of all, "3/10"; of a run that was trained elsewhere it is not known."""
    progress = run["progress"]
    if run["spec"] is None:
        return "–"
    return f"{progress.get('epoch') or 0}/{progress.get('epochs') or run['spec']['epochs']}"


def figure_of(run: Run, stage: str, last: str = "acc") -> float | None:
    """The figure that stands for a run: of all heads together, else of its first one."""
    names = [f"{stage}/{last}", *(f"{stage}/{target}/{last}" for target in (run["spec"] or {}).get("targets", ()))]
    found = next((run["summary"][name] for name in names if name in run["summary"]), None)
    return None if found is None else found["last" if stage == "test" else "best"]


def share(value: float | None) -> str:
    """An accuracy in percent."""
    return "–" if value is None else f"{100 * value:.2f} %"


def run_line(run: Run, address: str) -> str:
    """An ended run in a line: how it ended, what it reached, how long it took."""
    if run["status"] == "deleted":
        return f"{'deleted':9}  run {run['id']}"
    said = [f"{run['status']:9}", run_name(run)]
    if run["status"] == "succeeded":
        reached = [(name, each["last"]) for name, each in run["summary"].items() if name.startswith("test/")]
        said += [f"{name} {share(value)}" for name, value in reached if name.endswith("/acc") and value is not None]
    elif run["reason"]:
        said.append(run["reason"])
    if run["seconds"] is not None:
        said.append(f"{run['seconds']:.1f} s")
    return "  ".join([*said, f"{address}{run['url']}"])


def run_name(run: Run) -> str:
    """Family, size and dataset, and what its sweep chose beside them."""
    spec = run["spec"]
    if spec is None:
        return str(run["title"])
    chosen = run.get("sweep_values") or {}
    more = [f"{name} {words(value)}" for name, value in chosen.items() if name not in ("family", "size", "dataset")]
    return " · ".join([f"{spec['family']} {spec['size']} · {spec['dataset']}", *more])

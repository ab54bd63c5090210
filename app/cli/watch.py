"""`runyard watch`: shows runs and their curves in the terminal until they have ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_runs, warn
from app.cli.output import (
    COLORS,
    AsJson,
    duration,
    epoch_progress,
    headline_value,
    percent,
    print_json,
    run_line,
    run_name,
)
from app.cli.plot import Line, plot
from app.cli.wait import ACTIVE, Run, run_data, wait_for

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runyard import Curve, Runyard

REFRESH_SECONDS = 0.5
POINTS = 400
MAX_CURVES = 8
MAX_ROWS = 20
HEIGHT = 12
# Stages whose curves are drawn; of several heads, the combined metric or that of the first.
STAGES = ("train", "val")

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN…", help="Numbers or ids of runs, or the starts of their ids.", autocompletion=completion.runs
    ),
]


def watch(runs: Names, as_json: AsJson = False, url: Url = None) -> None:
    """Draw the curves of runs until they have ended. Ctrl-C does not stop the runs.

    Without a terminal, print one line for each run as it ends.

    The exit status is 0 if all runs succeed, 130 after Ctrl-C and 1 otherwise.
    """
    interrupted = f"stopped watching; the runs continue (stop them with `runyard cancel {' '.join(runs)}`)"
    with connected(url, interrupted=interrupted) as yard:
        ids = [run.id for run in find_runs(yard, runs)]
        ended = watch_runs(yard, ids, quiet=as_json)
        if as_json:
            print_json({"runs": list(ended.values())})
        raise typer.Exit(0 if all(run["status"] == "succeeded" for run in ended.values()) else 1)


def watch_runs(yard: Runyard, ids: Sequence[str], quiet: bool = False) -> dict[str, Run]:
    """Draw in a terminal until all runs have ended, else print a line for each; return the runs by id."""
    if quiet or not sys.stdout.isatty():
        ended = {}
        for run in wait_for(yard, ids):
            ended[run["id"]] = run
            if not quiet:
                print(run_line(run, yard.url), flush=True)
        return {run_id: ended[run_id] for run_id in ids}
    return _draw_runs(yard, ids)


def _draw_runs(yard: Runyard, ids: Sequence[str]) -> dict[str, Run]:
    from rich.console import Console
    from rich.live import Live

    from runyard import RunyardError

    console = Console(highlight=False)
    view = LiveView(yard, ids)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for _ in yard.changes():
            try:
                view.refresh()
            except RunyardError as error:
                if error.status not in (0, 503):
                    raise
            live.update(view.render(console.width), refresh=True)
            if view.ended:
                break
            time.sleep(REFRESH_SECONDS)
    for run in view.runs.values():
        if run["status"] == "failed":
            warn(f"#{run['number']} {run_name(run)} failed: {run['reason']}")
    return view.runs


class LiveView:
    """The watched runs and their curves, as last fetched."""

    def __init__(self, yard: Runyard, ids: Sequence[str]) -> None:
        self.yard = yard
        self.ids = list(ids)
        self.runs: dict[str, Run] = {}
        self.curves: dict[str, dict[str, Curve]] = {}

    @property
    def ended(self) -> bool:
        """Whether all runs have ended."""
        return len(self.runs) == len(self.ids) and all(run["status"] not in ACTIVE for run in self.runs.values())

    def refresh(self) -> None:
        """Fetch everything that may have changed."""
        for run_id in self.ids:
            previous = self.runs.get(run_id)
            if previous is not None and previous["status"] not in ACTIVE:
                continue
            current = run_data(self.yard, run_id)
            self.runs[run_id] = current
            if current["status"] not in ("queued", "deleted") and run_id in self._visible():
                self.curves[run_id] = self._curves(current)

    def _visible(self) -> list[str]:
        """Return the runs whose curves are drawn: training runs first, then the most recent ones."""
        started = [run for run in self.runs.values() if run["status"] not in ("queued", "deleted")]
        started.sort(key=lambda run: (run["status"] in ACTIVE, run["number"]), reverse=True)
        return sorted(run["id"] for run in started[:MAX_CURVES])

    def _curves(self, run: Run) -> dict[str, Curve]:
        names = [name for name in map(str, run["summary"]) if name.startswith(STAGES) and not name.endswith("/lr")]
        return self.yard.run(run["id"]).curves(names, POINTS) if names else {}

    def render(self, width: int) -> RenderableType:
        """Return a row for each run, and the curves of loss and accuracy."""
        from rich.console import Group
        from rich.table import Table

        side_by_side = width >= 100
        plot_width = (width - 2) // 2 if side_by_side else width
        plots = [plot(title, lines, plot_width, HEIGHT) for title, lines in self._lines().items()]
        if side_by_side:
            grid = Table.grid(padding=(0, 2))
            grid.add_row(*plots)
            return Group(self._table(), grid)
        return Group(self._table(), *plots)

    def _lines(self) -> dict[str, list[Line]]:
        """Return the curves by plot: training and validation of one run, or validation of several runs."""
        stages = STAGES if len(self.ids) == 1 else ("val",)
        plots: dict[str, list[Line]] = {}
        for metric, title in (("loss", "loss"), ("acc", "accuracy")):
            lines = []
            for run_id in self._visible():
                curves = self.curves.get(run_id, {})
                for stage in stages:
                    name = next((name for name in curves if name.startswith(stage) and name.endswith(metric)), None)
                    if name is not None:
                        label = name if len(self.ids) == 1 else f"#{self.runs[run_id]['number']}"
                        lines.append(Line(label, curves[name].step, curves[name].value))
            plots[title if len(self.ids) == 1 else f"validation {title}"] = lines
        return plots

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for run in list(self.runs.values())[:MAX_ROWS]:
            if run["status"] == "deleted":
                table.add_row(Text(run["id"]), Text("deleted"))
                continue
            progress = run["progress"]
            eta = progress.get("eta_seconds") if run["status"] == "running" else None
            table.add_row(
                Text(f"#{run['number']}"),
                Text(run["status"], style=COLORS.get(run["status"], "")),
                Text(run_name(run)),
                Text(_bar(progress, run["status"]), style="cyan"),
                Text(f"epoch {epoch_progress(run)}"),
                Text(f"val {percent(headline_value(run, 'val'))}"),
                Text(f"test {percent(headline_value(run, 'test'))}"),
                Text(f"ETA {duration(eta)}" if eta is not None else duration(run["seconds"])),
            )
        if len(self.runs) > MAX_ROWS:
            table.add_row(Text(f"and {len(self.runs) - MAX_ROWS} more"))
        return table


def _bar(progress: Run, status: str, width: int = 16) -> str:
    steps = progress.get("steps") or 0
    done = 1.0 if status == "succeeded" else min(1.0, (progress.get("step") or 0) / steps) if steps else 0.0
    full = round(done * width)
    return "━" * full + "─" * (width - full)

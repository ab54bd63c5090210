"""`runyard watch`: runs and their curves in the terminal, until they have ended; elsewhere a line for each."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, find_runs, tell, told
from app.cli.output import COLORS, AsJson, epochs_of, figure_of, print_json, run_line, run_name, share, span
from app.cli.plot import Line, plot
from app.cli.wait import UNENDED, Run, run_data, wait_for

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runyard import Curve, Runyard

LOOK_SECONDS = 0.5
POINTS = 400
MOST_DRAWN = 8
MOST_ROWS = 20
HEIGHT = 12
# Of several heads, the metrics of all together or of the first.
STAGES = ("train", "val")

Names = Annotated[list[str], typer.Argument(help="Runs by number or id.", autocompletion=completion.runs)]


def watch(runs: Names, as_json: AsJson = False, url: Url = None) -> None:
    """Draw the curves of runs until they have ended; Ctrl-C leaves them alone.

    Where the output is no terminal, a line for each run says how it ended.

    Ends with status 0 when all have succeeded, 1 when one has not, 130 after Ctrl-C.
    """
    with told(url, interrupted=f"not watching any longer; the runs go on (`runyard cancel {' '.join(runs)}`)") as yard:
        ids = [run.id for run in find_runs(yard, runs)]
        ended = watch_runs(yard, ids, quiet=as_json)
        if as_json:
            print_json({"runs": list(ended.values())})
        raise typer.Exit(0 if all(run["status"] == "succeeded" for run in ended.values()) else 1)


def watch_runs(yard: Runyard, ids: Sequence[str], quiet: bool = False) -> dict[str, Run]:
    """Draws in a terminal until all have ended; elsewhere prints a line for each as it ends. The runs by id."""
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
    seen = Seen(yard, ids)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for _ in yard.changes():
            try:
                seen.look()
            except RunyardError as error:
                if error.status not in (0, 503):
                    raise
            live.update(seen.picture(console.width), refresh=True)
            if seen.ended:
                break
            time.sleep(LOOK_SECONDS)
    for run in seen.runs.values():
        if run["status"] == "failed":
            tell(f"#{run['number']} {run_name(run)} failed: {run['reason']}")
    return seen.runs


class Seen:
    """The watched runs and their curves, as far as they were looked at."""

    def __init__(self, yard: Runyard, ids: Sequence[str]) -> None:
        self.yard = yard
        self.ids = list(ids)
        self.runs: dict[str, Run] = {}
        self.curves: dict[str, dict[str, Curve]] = {}

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return len(self.runs) == len(self.ids) and all(run["status"] not in UNENDED for run in self.runs.values())

    def look(self) -> None:
        """Read what may have changed since the last time."""
        for run_id in self.ids:
            before = self.runs.get(run_id)
            if before is not None and before["status"] not in UNENDED:
                continue
            now = run_data(self.yard, run_id)
            self.runs[run_id] = now
            if now["status"] not in ("queued", "deleted") and run_id in self._drawn():
                self.curves[run_id] = self._curves(now)

    def _drawn(self) -> list[str]:
        """The runs whose curves are drawn: those that train now, then those that ended last."""
        started = [run for run in self.runs.values() if run["status"] not in ("queued", "deleted")]
        started.sort(key=lambda run: (run["status"] in UNENDED, run["number"]), reverse=True)
        return sorted(run["id"] for run in started[:MOST_DRAWN])

    def _curves(self, run: Run) -> dict[str, Curve]:
        names = [name for name in map(str, run["summary"]) if name.startswith(STAGES) and not name.endswith("/lr")]
        return self.yard.run(run["id"]).curves(names, POINTS) if names else {}

    def picture(self, width: int) -> RenderableType:
        """A row for each run, and the curves of loss and accuracy."""
        from rich.console import Group
        from rich.table import Table

        side_by_side = width >= 100
        each = (width - 2) // 2 if side_by_side else width
        plots = [plot(title, lines, each, HEIGHT) for title, lines in self._lines().items()]
        if side_by_side:
            grid = Table.grid(padding=(0, 2))
            grid.add_row(*plots)
            return Group(self._table(), grid)
        return Group(self._table(), *plots)

    def _lines(self) -> dict[str, list[Line]]:
        """Curves by picture: of one run training and validation, of several the validation of each."""
        stages = STAGES if len(self.ids) == 1 else ("val",)
        found: dict[str, list[Line]] = {}
        for last, title in (("loss", "loss"), ("acc", "accuracy")):
            lines = []
            for run_id in self._drawn():
                curves = self.curves.get(run_id, {})
                for stage in stages:
                    name = next((name for name in curves if name.startswith(stage) and name.endswith(last)), None)
                    if name is not None:
                        label = name if len(self.ids) == 1 else f"#{self.runs[run_id]['number']}"
                        lines.append(Line(label, curves[name].step, curves[name].value))
            found[title if len(self.ids) == 1 else f"validation {title}"] = lines
        return found

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for run in list(self.runs.values())[:MOST_ROWS]:
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
                Text(f"epoch {epochs_of(run)}"),
                Text(f"val {share(figure_of(run, 'val'))}"),
                Text(f"test {share(figure_of(run, 'test'))}"),
                Text(f"{span(eta)} left" if eta is not None else span(run["seconds"])),
            )
        if len(self.runs) > MOST_ROWS:
            table.add_row(Text(f"and {len(self.runs) - MOST_ROWS} more"))
        return table


def _bar(progress: Run, status: str, width: int = 16) -> str:
    steps = progress.get("steps") or 0
    done = 1.0 if status == "succeeded" else min(1.0, (progress.get("step") or 0) / steps) if steps else 0.0
    full = round(done * width)
    return "━" * full + "─" * (width - full)

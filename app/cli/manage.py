"""`runyard cancel`, `retry`, `resume`, `clone` and `fork`: what is done to runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.client import Url, find_run, find_runs, find_sweep, told
from app.cli.flags import read_changes
from app.cli.output import AsJson, print_json
from app.cli.runs import Name, Names, OfSweep

if TYPE_CHECKING:
    from runyard import Run

Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="What differs, like lr=3e-4; several times.")
]


def cancel(
    runs: Names = None,
    sweep: OfSweep = None,
    all_queued: Annotated[bool, typer.Option("--all-queued", help="All that have not started.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Stop runs: those that wait at once, those that train at their next batch, with a checkpoint."""
    with told(url) as yard:
        if bool(runs) + bool(sweep) + all_queued != 1:
            raise ValueError("name runs, or a --sweep, or say --all-queued: one of these")
        if all_queued:
            said = yard.cancel(queued=True)
        elif sweep:
            said = yard.cancel(sweep=find_sweep(yard, sweep).id)
        else:
            said = yard.cancel([run.id for run in find_runs(yard, runs or [])])
        if as_json:
            print_json(said)
            return
        cancelled, stopping = len(said["cancelled"]), len(said["stopping"])
        if runs and not cancelled + stopping:
            raise ValueError("nothing to stop: all of them have ended")
        print(f"{cancelled} cancelled before they started, {stopping} stopping")


def retry(runs: Names = None, as_json: AsJson = False, url: Url = None) -> None:
    """Launch ended runs once more, from the start."""
    with told(url) as yard:
        if not runs:
            raise ValueError("name the runs to launch again")
        made = [run.retry() for run in find_runs(yard, runs)]
        if as_json:
            print_json({"runs": [run.data for run in made]})
        else:
            for run in made:
                _say(run)


def resume(
    run: Name,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="To so many epochs in all; left out: as many as before.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Go on with an ended run from its last checkpoint, as a new run."""
    _make(url, as_json, run, lambda found: found.resume(epochs))


def clone(run: Name, changes: Changes = None, as_json: AsJson = False, url: Url = None) -> None:
    """Launch a run's configuration again, with changes."""
    _make(url, as_json, run, lambda found: found.clone(**read_changes(changes or [])))


def fork(
    run: Name,
    epoch: Annotated[int, typer.Option(min=0, help="From the end of this epoch, whose checkpoint is kept.")],
    changes: Changes = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Go on from an earlier epoch of a run, with changes, as a new run."""
    _make(url, as_json, run, lambda found: found.fork(epoch, **read_changes(changes or [])))


def _make(url: str | None, as_json: bool, name: str, act: Callable[[Run], Run]) -> None:
    with told(url) as yard:
        made = act(find_run(yard, name))
        if as_json:
            print_json(made.data)
        else:
            _say(made)


def _say(run: Run) -> None:
    print(f"#{run.number} {run.title} is {run.status}  {run.url}")

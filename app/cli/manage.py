"""`runyard cancel`, `retry`, `resume`, `clone`, `fork` and `rm`: manage runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from app.cli.client import Url, connected, find_run, find_runs, find_sweep, warn
from app.cli.flags import read_changes
from app.cli.output import AsJson, print_json
from app.cli.runs import Name, Names, OfSweep

if TYPE_CHECKING:
    from runyard import Run, Runyard

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Setting to change, e.g. lr=3e-4. Can be repeated."),
]


def cancel(
    runs: Names = None,
    sweep: OfSweep = None,
    all_queued: Annotated[bool, typer.Option("--all-queued", help="Cancel all queued runs.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Cancel queued runs; stop active runs before the next step and save a checkpoint."""
    with connected(url) as yard:
        if bool(runs) + bool(sweep) + all_queued != 1:
            raise ValueError("specify exactly one of: runs, --sweep, --all-queued")
        if all_queued:
            result = yard.cancel(queued=True)
        elif sweep:
            result = yard.cancel(sweep=find_sweep(yard, sweep).id)
        else:
            result = yard.cancel([run.id for run in find_runs(yard, runs or [])])
        if as_json:
            print_json(result)
            return
        cancelled, stopping = len(result["cancelled"]), len(result["stopping"])
        if runs and not cancelled + stopping:
            raise ValueError("all of these runs have already ended")
        print(f"{_runs(cancelled, 'queued')} cancelled, {_runs(stopping, 'running')} stopping")


def _runs(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}{' ' if kind else ''}run{'' if count == 1 else 's'}"


def retry(runs: Names = None, as_json: AsJson = False, url: Url = None) -> None:
    """Launch ended runs again from scratch."""
    with connected(url) as yard:
        if not runs:
            raise ValueError("specify the runs to retry")
        made = [run.retry() for run in find_runs(yard, runs)]
        if as_json:
            print_json({"runs": [run.data for run in made]})
        else:
            for run in made:
                _print_run(run)


def resume(
    run: Name,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="New total number of epochs (default: that of the original run).")
    ] = None,
    worker: Annotated[
        str | None, typer.Option(help='Train only there; "" is any worker (default: as the original run).')
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Continue an ended run from its last checkpoint, as a new run."""
    _make(url, as_json, run, lambda original: original.resume(epochs, worker))


def clone(run: Name, changes: Changes = None, as_json: AsJson = False, url: Url = None) -> None:
    """Launch a copy of a run, optionally with changed settings."""
    _make(url, as_json, run, lambda original: original.clone(**read_changes(changes or [])))


def fork(
    run: Name,
    epoch: Annotated[int, typer.Option(min=0, help="Epoch to start from; its checkpoint must still exist.")],
    changes: Changes = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Continue from an earlier epoch of a run with changed settings, as a new run."""
    _make(url, as_json, run, lambda original: original.fork(epoch, **read_changes(changes or [])))


def rm(
    runs: Names = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Restore these runs from the trash; takes their whole ids.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Move ended runs to the trash; --undo restores them."""
    with connected(url) as yard:
        if not runs:
            raise ValueError("specify the runs to " + ("restore" if undo else "delete"))
        if undo:
            if short := [name for name in runs if not name.startswith("r_")]:
                raise ValueError(f"--undo takes the whole ids that `runyard rm` printed, not '{short[0][:40]}'")
            _restore(yard, runs, as_json)
            return
        found = find_runs(yard, runs)
        if not found:
            raise ValueError("specify the runs to delete")
        if active := [f"#{run.number} is {run.status}" for run in found if not run.ended]:
            raise ValueError(f"{', '.join(active)}; `runyard cancel` stops a run")
        deleted: list[str] = []
        try:
            for run in found:
                run.delete()
                deleted.append(run.id)
        finally:
            # Also if one fails, since those before it can only be restored by their ids.
            if as_json:
                print_json({"deleted": deleted})
            elif deleted:
                them = "it" if len(deleted) == 1 else "them"
                print(f"{_runs(len(deleted))} deleted; `runyard rm --undo {' '.join(deleted)}` restores {them}")


def _restore(yard: Runyard, ids: list[str], as_json: bool) -> None:
    """Restore all that can be restored; a run that is not in the trash is an error at the end."""
    from runyard import RunyardError

    restored, missing = [], []
    try:
        for name in ids:
            try:
                restored.append(yard.ask("POST", f"/runs/{quote(name, safe='')}/restore"))
            except RunyardError as error:
                if error.status != 404:
                    raise
                missing.append(error)
    finally:
        if as_json:
            print_json({"runs": restored})
        elif restored:
            print(f"{_runs(len(restored))} restored")
    for each in missing[:-1]:
        warn(each.detail)
    if missing:
        raise missing[-1]


def _make(url: str | None, as_json: bool, name: str, act: Callable[[Run], Run]) -> None:
    with connected(url) as yard:
        made = act(find_run(yard, name))
        if as_json:
            print_json(made.data)
        else:
            _print_run(made)


def _print_run(run: Run) -> None:
    print(f"#{run.number} {run.title}: {run.status}  {run.url}")

"""`runyard change`: changes a run while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import Url, connected, find_run
from app.cli.output import AsJson, print_json, print_table
from app.cli.runs import Name

if TYPE_CHECKING:
    from runyard import Change


def change(
    run: Name,
    epochs: Annotated[int | None, typer.Option(min=1, help="New total number of epochs.")] = None,
    lr_factor: Annotated[
        float | None,
        typer.Option(metavar="FACTOR", help="Multiply the learning rate by this factor from now on, e.g. 0.3."),
    ] = None,
    stop_after_epoch: Annotated[
        bool,
        typer.Option("--stop-after-epoch", help="Stop after the current epoch, then evaluate on the test set."),
    ] = False,
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Save a permanent checkpoint before the next step.")
    ] = False,
    note: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Add a note to the charts at the current step.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Change a run while it trains, from its next step on; without options, list its changes."""
    requested: dict[str, Any] = {
        "epochs": epochs,
        "lr_factor": lr_factor,
        "note": note,
        "checkpoint": checkpoint or None,
        "stop_after_epoch": stop_after_epoch or None,
    }
    with connected(url) as yard:
        target = find_run(yard, run)
        made = [target.change(**{kind: value}) for kind, value in requested.items() if value is not None]
        changes = made or target.changes()
        if as_json:
            print_json({"changes": [change.data for change in changes]})
        elif made:
            for change in made:
                print(f"#{target.number}: {_label(change)} ({change.state}). {change.sentence}")
        elif changes:
            rows = [
                [_label(change), change.state, "" if change.step is None else f"{change.step:,}", change.reason]
                for change in changes
            ]
            print_table(("change", "state", "at step", "reason"), rows, right=("at step",))
        else:
            print("no changes")


def _label(change: Change) -> str:
    kind = change.kind.replace("_", " ").replace("lr factor", "learning rate ×")
    return kind if change.value is None else f"{kind} {change.value}"

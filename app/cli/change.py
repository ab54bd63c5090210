"""`runyard change`: what can be changed of a run while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import Url, find_run, told
from app.cli.output import AsJson, print_json, print_table
from app.cli.runs import Name

if TYPE_CHECKING:
    from runyard import Change


def change(
    run: Name,
    epochs: Annotated[int | None, typer.Option(min=1, help="So many epochs in all, more or fewer.")] = None,
    lr_factor: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Multiply the learning rate from now on, like 0.3.")
    ] = None,
    stop_after_epoch: Annotated[
        bool, typer.Option("--stop-after-epoch", help="End with the epoch in training, and test it.")
    ] = False,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="Save now, with a copy that stays.")] = False,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Mark this step on the curves.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Change a run while it trains, before its next step; without a flag, list what was changed of it."""
    wanted: dict[str, Any] = {
        "epochs": epochs,
        "lr_factor": lr_factor,
        "note": note,
        "checkpoint": checkpoint or None,
        "stop_after_epoch": stop_after_epoch or None,
    }
    with told(url) as yard:
        found = find_run(yard, run)
        made = [found.change(**{kind: value}) for kind, value in wanted.items() if value is not None]
        listed = made or found.changes()
        if as_json:
            print_json({"changes": [each.data for each in listed]})
        elif made:
            for each in made:
                print(f"#{found.number} {_words(each)}: {each.state}. {each.sentence}")
        elif listed:
            rows = [
                [_words(each), each.state, "" if each.step is None else f"{each.step:,}", each.reason]
                for each in listed
            ]
            print_table(("change", "state", "at step", "reason"), rows, right=("at step",))
        else:
            print("nothing was changed of this run")


def _words(each: Change) -> str:
    named = each.kind.replace("_", " ").replace("lr factor", "learning rate ×")
    return named if each.value is None else f"{named} {each.value}"

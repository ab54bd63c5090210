"""`runyard prune`: removes what the settings of the server no longer keep, or says what that would be."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import Url, connected, warn
from app.cli.output import AsJson, print_json, print_table
from app.contract.retention import LABELS

if TYPE_CHECKING:
    from runyard import Runyard

SHOWN = 50
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 30.0


def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed, of which run, why and how much.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Remove what the server's settings of retention no longer keep; needs an administrator."""
    with connected(url, interrupted="stopped waiting; the server goes on deleting") as yard:
        if dry_run:
            planned = yard.ask("GET", "/retention", limit=10_000)
            if as_json:
                print_json(planned)
            else:
                _print_plan(planned)
            return
        done = {"count": 0, "bytes": 0}
        left = 1
        while left:
            answer = yard.ask("POST", "/retention")
            done = {name: done[name] + answer[name] for name in done}
            left = answer["left"] if answer["count"] else 0
        if as_json:
            print_json(done)
        elif not done["count"]:
            print("nothing to remove")
        else:
            _wait(yard)
            print(f"removed {_things(done['count'])}, {_size(done['bytes'])}")


def _print_plan(planned: dict[str, Any]) -> None:
    """Print what would go, and the limits where nothing would."""
    limits = [f"{rule['setting']}={rule['value']:g}" for rule in planned["rules"] if rule["value"] is not None]
    print(f"limits of the server: {' '.join(limits) or 'none'}")
    if planned["entries"]:
        print_table(("#", "run", "what", "size", "reason"), map(_row, planned["entries"][:SHOWN]), ("#", "size"))
    if planned["count"] > SHOWN:
        print(f"and {planned['count'] - SHOWN:,} more")
    total = f"would remove {_things(planned['count'])}, {_size(planned['bytes'])}"
    print(total if planned["count"] else "nothing would be removed")
    if planned["missing"]:
        print(f"{_size(planned['missing'])} more are needed, but nothing more may be removed")
    if limits:
        print(
            "kept: runs that have not ended, ended within the last hour, have a model name or a job, or were continued"
        )


def _row(entry: dict[str, Any]) -> list[str]:
    number = "–" if entry["number"] is None else str(entry["number"])
    return [number, entry["title"] or entry["run"], LABELS[entry["kind"]], _size(entry["bytes"]), entry["why"]]


def _things(count: int) -> str:
    return f"{count:,} thing{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def _wait(yard: Runyard) -> None:
    """Wait until the recorder has deleted the files, or has deleted none for a while."""
    left, end = -1, 0.0
    while True:
        state = yard.ask("GET", "/retention", limit=0)
        if not state["deleting_files"]:
            return
        if state["deleting_files"] != left:
            left, end = state["deleting_files"], time.monotonic() + PATIENCE_SECONDS
            print(f"deleting: {left:,} files, {_size(state['deleting_bytes'])} left", file=sys.stderr)
        elif time.monotonic() > end:
            warn("the recorder deletes the rest when it can")
            return
        time.sleep(LOOK_SECONDS)

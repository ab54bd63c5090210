"""`runyard queue`: lists, pauses, resumes and reorders the queue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Url, connected, find_run
from app.cli.disks import warn_about_disks
from app.cli.output import AsJson, duration, local_time, print_json, print_table
from app.cli.runs import Name

queue = typer.Typer(help="Show and manage the queue.", invoke_without_command=True)


@queue.callback()
def list_queue(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Maximum number of runs.")] = 50,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show queued runs and why they wait; subcommands pause, resume and reorder the queue."""
    if context.invoked_subcommand is not None:
        return
    with connected(url) as yard:
        listed = yard.queue(limit)
        warn_about_disks(yard)
        if as_json:
            print_json(listed)
            return
        if listed["paused"]:
            print("the queue is paused; resume it with `runyard queue resume`")
        elif listed["held"]:
            print(f"no runs start: {listed['held']}")
        if not listed["runs"]:
            print("no queued runs")
            return
        columns = ("position", "#", "run", "expected start", "expected duration", "reason")
        print_table(columns, map(_row, listed["runs"]), ("position", "#"))
        if listed["total"] > len(listed["runs"]):
            print(f"and {listed['total'] - len(listed['runs']):,} more")


def _row(entry: dict[str, Any]) -> list[str]:
    run, start = entry["run"], entry.get("expected_start")
    return [
        str(entry["position"]),
        str(run["number"]),
        run["title"],
        local_time(start) if isinstance(start, str) else "–",
        duration(entry.get("expected_seconds")),
        entry["why"],
    ]


@queue.command()
def pause(as_json: AsJson = False, url: Url = None) -> None:
    """Pause the queue. No more runs start; active runs continue."""
    with connected(url) as yard:
        state = yard.pause_queue()
        if as_json:
            print_json(state)
        else:
            print("queue paused; no more runs start")


@queue.command()
def resume(as_json: AsJson = False, url: Url = None) -> None:
    """Resume the queue."""
    with connected(url) as yard:
        state = yard.resume_queue()
        if as_json:
            print_json(state)
        else:
            print("queue resumed")


@queue.command()
def move(
    run: Name,
    to: Annotated[str | None, typer.Argument(metavar="first|last|up|down", help="New position.")] = None,
    before: Annotated[str | None, typer.Option(metavar="RUN", help="Move directly before RUN.")] = None,
    after: Annotated[str | None, typer.Option(metavar="RUN", help="Move directly after RUN.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Move a queued run."""
    with connected(url) as yard:
        if sum(target is not None for target in (to, before, after)) != 1:
            raise ValueError("specify one position: first, last, up, down, --before RUN or --after RUN")
        if to is not None and to not in ("first", "last", "up", "down"):
            raise ValueError(f"unknown position '{to[:40]}'; positions: first, last, up, down")
        moved = yard.move(
            find_run(yard, run).id,
            to,
            before=find_run(yard, before).id if before else None,
            after=find_run(yard, after).id if after else None,
        )
        if as_json:
            print_json(moved)
        else:
            print(f"now at position {moved['position']}")

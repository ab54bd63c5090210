"""`runyard queue`: what waits and why, pause and resume, and the order."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Url, find_run, told
from app.cli.output import AsJson, moment, print_json, print_table, span
from app.cli.runs import Name

queue = typer.Typer(help="What waits and why; pause, resume and reorder it.", invoke_without_command=True)


@queue.callback()
def list_queue(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="So many at most.")] = 50,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """What waits and why; pause, resume and reorder it."""
    if context.invoked_subcommand is not None:
        return
    with told(url) as yard:
        said = yard.queue(limit)
        if as_json:
            print_json(said)
            return
        if said["paused"]:
            print("the queue is paused: no run starts (`runyard queue resume`)")
        if not said["runs"]:
            print("no run is queued")
            return
        print_table(("place", "#", "run", "starts", "takes", "why it waits"), map(_row, said["runs"]), ("place", "#"))
        if said["total"] > len(said["runs"]):
            print(f"and {said['total'] - len(said['runs']):,} more")


def _row(place: dict[str, Any]) -> list[str]:
    run, start = place["run"], place.get("expected_start")
    starts = moment(start) if isinstance(start, str) else "–"
    return [
        str(place["position"]),
        str(run["number"]),
        run["title"],
        starts,
        span(place.get("expected_seconds")),
        place["why"],
    ]


@queue.command()
def pause(as_json: AsJson = False, url: Url = None) -> None:
    """Let no further run start; those that train go on."""
    with told(url) as yard:
        said = yard.pause_queue()
        if as_json:
            print_json(said)
        else:
            print("the queue is paused: no run starts")


@queue.command()
def resume(as_json: AsJson = False, url: Url = None) -> None:
    """Let runs start again."""
    with told(url) as yard:
        said = yard.resume_queue()
        if as_json:
            print_json(said)
        else:
            print("runs start again")


@queue.command()
def move(
    run: Name,
    to: Annotated[str | None, typer.Argument(metavar="first|last|up|down")] = None,
    before: Annotated[str | None, typer.Option(metavar="RUN", help="To just before this one.")] = None,
    after: Annotated[str | None, typer.Option(metavar="RUN", help="To just after this one.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Move a queued run."""
    with told(url) as yard:
        if sum(each is not None for each in (to, before, after)) != 1:
            raise ValueError("say where to: first, last, up or down, or --before or --after another run")
        if to is not None and to not in ("first", "last", "up", "down"):
            raise ValueError(f"a run is moved first, last, up or down, not '{to[:40]}'")
        said = yard.move(
            find_run(yard, run).id,
            to,
            before=find_run(yard, before).id if before else None,
            after=find_run(yard, after).id if after else None,
        )
        if as_json:
            print_json(said)
        else:
            print(f"now at place {said['position']}")

"""`runyard exec`: puts a command into the queue; a worker on this machine starts it, in the folder where it was typed.

The command is signed with the key in the server's data folder, which only the user who runs the server can read. With
`--sweep`, it is executed with several values.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from app.cli import command_sweep as swept
from app.cli.client import INTERRUPTED, Url, connected, warn
from app.cli.output import AsJson, print_json, run_line
from app.cli.signing import Environment, chosen_environment, owner_key
from app.cli.wait import wait_for

if TYPE_CHECKING:
    from app.contract.command import Command
    from runyard import Runyard

Words = Annotated[list[str], typer.Argument(metavar="COMMAND…", help="Program and arguments; write -- before them.")]
Name = Annotated[str, typer.Option(metavar="TEXT", help="Display name (default: the command line).")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag. Can be repeated.")]
Notes = Annotated[str, typer.Option(metavar="TEXT", help="Notes on the run.")]
Experiment = Annotated[
    str, typer.Option(metavar="NAME", help="MLflow experiment; the one that the script sets, if it sets one.")
]
Restarts = Annotated[
    int, typer.Option(min=0, max=100, metavar="N", help="How often to start again if the worker disappears.")
]
Priority = Annotated[
    int, typer.Option(min=-1000, max=1000, metavar="N", help="Runs with a higher priority start first.")
]
Device = Annotated[str, typer.Option(help="Device to run on: auto, cpu, cuda, or one GPU such as cuda:1.")]
Worker = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Worker, by host name or the start of its id (default: this machine)."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the run has ended; exit status 1 unless it succeeds.")]


def execute(
    command: Words,
    name: Name = "",
    tags: Tags = None,
    notes: Notes = "",
    environment: Environment = None,
    experiment: Experiment = "Default",
    restarts: Restarts = 0,
    priority: Priority = 0,
    device: Device = "auto",
    worker: Worker = None,
    sweep: swept.Swept = None,
    trials: swept.Trials = None,
    method: swept.Method = None,
    metric: swept.Metric = None,
    goal: swept.Goal = None,
    prune: swept.Prune = None,
    prune_after: swept.PruneAfter = None,
    prune_after_runs: swept.PruneAfterRuns = None,
    seeds: swept.Seeds = None,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Execute any command as a run: runyard exec --name tune -- python train.py --lr 0.1.

    It waits in the same queue for a slot and its GPU. What the script logs with MLflow lands in this run, its output is
    the run's log, and its exit status decides whether the run succeeds. With --sweep lr=1e-4..1e-1:log, it is executed
    with several values in place of {lr}, and --prune stops those that lag behind.
    """
    fields = {
        "name": name,
        "tags": tags or [],
        "notes": notes,
        "experiment": experiment,
        "restarts": restarts,
        "priority": priority,
        "device": device,
        # With the dash before the random part of a worker's id: gpu1 must not match gpu10.
        "worker": f"{socket.gethostname()}-" if worker is None else worker,
    }
    search = {"draws": trials, "method": method, "metric": metric, "direction": goal, "pruning": prune}
    search |= {"prune_after_epochs": prune_after, "prune_after_runs": prune_after_runs}
    with connected(url, status=2) as yard:
        varied = swept.read_sweep(sweep or [], seeds, search)
        signed = _sign(yard, _command(yard, command, environment or [], varied[0] if varied else {}))
        if varied is not None:
            body = {"command": signed.model_dump(exclude={"values"}), **fields, "sweep": varied[1]}
            _launch_sweep(yard, body, wait, as_json)
        run = yard.ask("POST", "/commands", {"command": signed.model_dump(), **fields})
        if not as_json:
            print(f"#{run['number']} {run['title']}: {run['status']}  {yard.url}{run['url']}", flush=True)
        if wait:
            run = _wait(yard, run, quiet=as_json)
        if as_json:
            print_json(run)
        raise typer.Exit(0 if not wait or run["status"] == "succeeded" else 1)


def _launch_sweep(yard: Runyard, body: Mapping[str, Any], wait: bool, as_json: bool) -> NoReturn:
    swept.report_sweep(yard.find_sweep(yard.ask("POST", "/commands/sweeps", body)["id"]), wait, as_json)


def _command(
    yard: Runyard, words: Sequence[str], environment: Sequence[str], placeholders: Mapping[str, Any]
) -> Command:
    """The command as typed here, without a signature. Raises ValueError."""
    from pydantic import ValidationError

    from app.contract.command import MOST_BYTES, Command
    from app.contract.errors import to_field_errors

    chosen = chosen_environment(environment)
    folder = _folder()
    try:
        "".join([*words, folder, *chosen.values()]).encode()
    except UnicodeEncodeError as error:
        raise ValueError("the command, its folder and its environment must be valid UTF-8") from error
    try:
        command = Command.model_validate(
            {"argv": words, "folder": folder, "environment": chosen, "url": yard.url, "placeholders": placeholders}
        )
    except ValidationError as error:
        messages = [each.message.replace("placeholders.", "--sweep ") for each in to_field_errors(error.errors())]
        raise ValueError("; ".join(messages)) from error
    command.check_placeholders()
    if shutil.which(words[0], path=chosen.get("PATH")) is None:
        raise ValueError(f"cannot find the program '{words[0][:200]}'; commands are not read by a shell")
    size = len(command.model_dump_json())
    if size > MOST_BYTES:
        raise ValueError(f"the command with its environment has {size:,} bytes; at most {MOST_BYTES:,} are possible")
    return command


def _folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise ValueError("the current folder does not exist any more") from error


def _sign(yard: Runyard, command: Command) -> Command:
    """Sign a command with the key of the server's data folder. Raises ValueError if this user cannot read it."""
    from app.contract.command_key import sign

    key = owner_key(yard, "commands", "submitted")
    return command.model_copy(update={"signature": sign(key, command)})


def _wait(yard: Runyard, run: dict[str, Any], quiet: bool) -> dict[str, Any]:
    try:
        (ended,) = wait_for(yard, [run["id"]])
    except KeyboardInterrupt as error:
        warn(f"stopped waiting; the run continues (stop it with `runyard cancel {run['number']}`)")
        raise typer.Exit(INTERRUPTED) from error
    if not quiet:
        print(run_line(ended, yard.url), flush=True)
    return ended

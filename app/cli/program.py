"""`runyard program`: add, list, show, remove and launch programs.

Adding and removing needs the key in the server's data folder, which only the user who runs the server can read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from app.cli import command_sweep as swept
from app.cli.client import INTERRUPTED, Url, connected, warn
from app.cli.output import AsJson, local_time, print_fields, print_json, print_table, run_line
from app.cli.program_file import read_program
from app.cli.signing import Environment, chosen_environment, owner_key
from app.cli.sweep import read_space
from app.cli.wait import wait_for
from app.contract.command import command_line
from app.contract.command_template import value_text

if TYPE_CHECKING:
    from runyard import Runyard

program = typer.Typer(
    name="program", help="Commands with fields, for launching in the browser or here.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name of the program.")]
Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FIELD=VALUE]…",
        help="Values; other fields keep defaults. Several make a sweep: lr=1e-4..1e-1:log, layers=2..8,"
        " drop=0..0.5:0.1 (step size) or optimizer=adam,sgd.",
    ),
]


@program.command()
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="File with the command, its folder and its fields.")
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Replace the program of this name.")] = False,
    environment: Environment = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Add a program that can be launched in the browser: its file has the command and its fields.

    Only the user who runs the server can do this, on the same machine.
    """
    from app.contract.command_key import sign_program

    with connected(url, status=2) as yard:
        read = read_program(file, chosen_environment(environment or []), yard.url)
        signed = read.model_copy(update={"signature": sign_program(owner_key(yard, "programs", "added"), read)})
        added = yard.ask("PUT", f"/programs/{quote(read.name, safe='')}", signed.model_dump(), replace=replace)
        if as_json:
            print_json(added)
        else:
            print(f"{added['name']} {added['outcome']}: {_fields_line(added)}  {yard.url}{added['url']}")


def _fields_line(shown: dict[str, Any]) -> str:
    fields = [f"{each['name']} {'(required)' if each['required'] else _default(each)}" for each in shown["fields"]]
    return ", ".join(fields) or "no fields"


def _default(field: dict[str, Any]) -> str:
    # As it is written in the argument, so that a number is not rounded.
    return value_text(field["default"]) or '""'


@program.command()
def ls(as_json: AsJson = False, url: Url = None) -> None:
    """List programs."""
    with connected(url) as yard:
        programs = yard.programs()
        if as_json:
            print_json({"programs": programs})
        elif programs:
            rows = [[each["name"], _fields_line(each), each["about"], local_time(each["changed"])] for each in programs]
            print_table(("program", "fields", "about", "changed"), rows)
            for each in programs:
                if each["trouble"]:
                    warn(each["trouble"])
        else:
            print("no programs; add one with `runyard program add FILE.toml`")


@program.command()
def show(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Show a program: its command, its folder and its fields."""
    with connected(url) as yard:
        shown = yard.ask("GET", f"/programs/{quote(name, safe='')}")
        if as_json:
            print_json(shown)
            return
        print_fields(
            {
                "program": shown["name"],
                "about": shown["about"],
                "command": command_line(shown["command"]),
                "folder": shown["folder"],
                "experiment": shown["experiment"],
                "variables": shown["variables"],
                "restarts": shown["restarts"] or None,
                "changed": local_time(shown["changed"]),
                "trouble": shown["trouble"],
                "form": f"{yard.url}{shown['url']}",
            }
        )
        if shown["fields"]:
            rows = [_field_row(each) for each in shown["fields"]]
            print()
            print_table(("field", "type", "default", "values", "help"), rows)


def _field_row(field: dict[str, Any]) -> list[str]:
    bounds = [f"{word} {field[key]}" for word, key in (("from", "min"), ("to", "max")) if field[key] is not None]
    accepted = ", ".join(field["choices"]) or " ".join(bounds) or field["within"]
    default = "required" if field["required"] else _default(field)
    return [field["name"], field["type"], default, accepted, field["help"]]


@program.command()
def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Remove a program; its runs stay, and can still be retried."""
    from app.contract.command_key import sign_removal

    with connected(url, status=2) as yard:
        address = f"/programs/{quote(name, safe='')}"
        shown = yard.ask("GET", address)
        key = owner_key(yard, "programs", "removed")
        if not yes:
            if not sys.stdin.isatty():
                raise ValueError(f"write --yes to remove program '{name}' without being asked")
            typer.confirm(f"Remove program '{name}'? Its runs stay.", abort=True)
        yard.ask("DELETE", address, signature=sign_removal(key, name, shown["changed"]))
        print_json({"removed": name}) if as_json else print(f"{name} removed; its runs stay")


@program.command()
def launch(
    name: Name,
    values: Values = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            metavar="N",
            help="Number of runs, or of those per configuration, with consecutive values of the field seed.",
        ),
    ] = 1,
    run_name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Display name of the run.")] = "",
    tags: Annotated[str, typer.Option(metavar="TAG,…", help="Comma-separated tags.")] = "",
    notes: Annotated[str, typer.Option(metavar="TEXT", help="Notes on the run.")] = "",
    priority: Annotated[
        int, typer.Option(min=-1000, max=1000, metavar="N", help="Runs with a higher priority start first.")
    ] = 0,
    device: Annotated[str, typer.Option(help="Device to run on: auto, cpu, cuda, or one GPU such as cuda:1.")] = "auto",
    trials: swept.Trials = None,
    method: swept.Method = None,
    metric: swept.Metric = None,
    goal: swept.Goal = None,
    prune: swept.Prune = None,
    prune_after: swept.PruneAfter = None,
    prune_after_runs: swept.PruneAfterRuns = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait until all runs have ended; exit status 1 unless all succeed, or one of a sweep."
        ),
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Launch a program with values for its fields: runyard program launch tune lr=0.01.

    Several values make a sweep: runyard program launch tune lr=1e-4..1e-1:log --trials 8.
    """
    search = {"draws": trials, "method": method, "metric": metric, "direction": goal, "pruning": prune}
    search |= {"prune_after_epochs": prune_after, "prune_after_runs": prune_after_runs}
    with connected(url, status=2) as yard:
        fields: dict[str, Any] = {"name": run_name, "notes": notes, "priority": priority, "device": device}
        fields |= {"tags": [tag.strip() for tag in tags.split(",") if tag.strip()], "seeds": seeds}
        given = dict(map(_pair, values or []))
        varied = _varied(yard, name, given)
        if varied:
            fields |= swept.read_search(varied, search, "several values")
            single = {field: value for field, value in given.items() if field not in varied}
            grid = {field: chosen["choice"] for field, chosen in varied.items() if "choice" in chosen}
            space = {field: chosen for field, chosen in varied.items() if field not in grid}
            swept.report_sweep(yard.sweep_program(name, single, grid=grid, space=space, **fields), wait, as_json)
        swept.refuse_search(search, f"a field with several values: {swept.FORM}")
        runs = [run.data for run in yard.launch_program(name, given, **fields)]
        if not as_json:
            for run in runs:
                print(f"#{run['number']} {run['title']}: {run['status']}  {yard.url}{run['url']}", flush=True)
        if wait:
            ended = {}
            try:
                for run in wait_for(yard, [run["id"] for run in runs]):
                    ended[run["id"]] = run
                    if not as_json:
                        print(run_line(run, yard.url), flush=True)
            except KeyboardInterrupt as error:
                warn(f"stopped waiting; the runs continue (stop them with `runyard cancel {runs[0]['number']}` …)")
                raise typer.Exit(INTERRUPTED) from error
            runs = [ended[run["id"]] for run in runs]
        if as_json:
            print_json({"runs": runs})
        raise typer.Exit(0 if not wait or all(run["status"] == "succeeded" for run in runs) else 1)


def _varied(yard: Runyard, name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The values and ranges of the fields with several, which their types tell from a text with a comma."""
    several = {field: text for field, text in given.items() if "," in text or ".." in text}
    if not several:
        return {}
    types = {each["name"]: each for each in yard.ask("GET", f"/programs/{quote(name, safe='')}")["fields"]}
    space: dict[str, Any] = {}
    for field, text in several.items():
        known = types.get(field, {})
        numeric = known.get("type") in ("int", "float")
        if numeric and ".." in text and "," not in text:
            (space[field],) = read_space([f"{field}={text}"], "the value", swept.FORM).values()
        elif (numeric or known.get("type") in ("choice", "bool")) and text not in known["choices"]:
            texts = list(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))
            # One with a comma behind it is one, and what cannot be read is for the server to refuse.
            space |= {field: {"choice": texts}} if len(texts) > 1 else {}
    return space


def _pair(given: str) -> tuple[str, str]:
    name, sign, value = given.partition("=")
    if not sign or not name:
        raise ValueError(f"values are written FIELD=VALUE, not '{given[:60]}'")
    return name, value

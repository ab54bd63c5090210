"""`runyard sweep`: creates, shows, stops and extends sweeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_sweep
from app.cli.flags import parameters, read_flags
from app.cli.launch_plan import include_own_datasets, make_plan, read_catalog
from app.cli.output import AsJson, print_fields, print_json, print_table, to_text
from app.contract.sweep import DEFAULT_DRAWS

if TYPE_CHECKING:
    from runyard import Runyard, Sweep

PANEL = "Search"

sweep = typer.Typer(help="Create and manage sweeps.", no_args_is_help=True)


def _option(*flags: str, **arguments: Any) -> Any:
    return typer.Option(*flags, rich_help_panel=PANEL, **arguments)


Name = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", help="Number or id of a sweep, or the start of its id.", autocompletion=completion.sweeps
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="JSON file with a sweep (the body of POST /api/v1/sweeps), or - for standard input.",
    ),
]
Seeds = Annotated[
    int,
    _option(
        "--seeds", min=1, max=1000, metavar="N", help="Number of seeds (runs per configuration), starting at --seed."
    ),
]
Method = Annotated[
    str | None, _option("--method", metavar="NAME", help="Search method: grid, random or tpe (default: grid).")
]
Space = Annotated[
    list[str] | None,
    _option(
        "--space",
        metavar="FIELD=RANGE",
        help="Search space for random and tpe, e.g. lr=1e-5..1e-1:log, warmup=0..0.5:0.1 (step size) or"
        " optimizer=adam,sgd. Can be repeated.",
    ),
]
Draws = Annotated[
    int | None,
    _option(
        "--draws",
        min=1,
        metavar="N",
        help=f"Number of configurations to draw from --space (default: {DEFAULT_DRAWS}).",
    ),
]
Metric = Annotated[str | None, _option("--metric", metavar="NAME", help="Metric to optimize (default: val/acc).")]
Direction = Annotated[
    str | None,
    _option(
        "--direction",
        metavar="NAME",
        help="Whether to maximize or minimize --metric (default: maximize accuracies, F1, AUC, precision, recall and"
        " throughputs, minimize others).",
    ),
]
Pruning = Annotated[
    str | None, _option("--pruning", metavar="NAME", help="Pruning method for unpromising runs: median or asha.")
]


def _create() -> Callable[..., None]:
    """Create the command, with a flag for every field of a run in addition to its own flags."""
    own: dict[str, tuple[Any, Any]] = {
        "file": (File, None),
        "seeds": (Seeds, 1),
        "method": (Method, None),
        "space": (Space, None),
        "draws": (Draws, None),
        "metric": (Metric, None),
        "direction": (Direction, None),
        "pruning": (Pruning, None),
        "as_json": (AsJson, False),
        "url": (Url, None),
    }

    def create(file: Path | None, as_json: bool, url: str | None, **given: Any) -> None:
        """Create a sweep of every combination of comma-separated values, or of values drawn from --space."""
        with connected(url) as yard:
            fields = read_flags(given)
            body = _read_file(file) if file else _body(yard, fields, given)
            if file and fields:
                raise ValueError("--file cannot be combined with run settings")
            made = yard.sweep(**body)
            if as_json:
                print_json(made.data)
            else:
                print(f"#{made.number} {made.title}: {made.planned:,} runs  {made.url}")

    keywords = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in own.items()
    ]
    create.__signature__ = Signature([*parameters(), *keywords])  # type: ignore[attr-defined]
    create.__annotations__ = {}
    return create


def _read_file(file: Path) -> dict[str, Any]:
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("base"), dict):
        raise ValueError(f'{file} is not a sweep; example: {{"base": {{"family": "vit"}}, "grid": {{"lr": [0.1]}}}}')
    return body


def _body(yard: Runyard, fields: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Create the body of POST /sweeps. Raises SpecError with all errors of any run of the grid, and ValueError."""
    name = {"name": fields.pop("name")} if "name" in fields else {}
    space = read_space(given["space"] or [])
    # To check the other fields, use any value of the space.
    drawn = {field: _any_value(values) for field, values in space.items()}
    checked = fields | {
        field: [value] if field in ("family", "size", "dataset") else value for field, value in drawn.items()
    }
    include_own_datasets(yard, [str(each) for each in checked.get("dataset") or []])
    plan = make_plan(checked, read_catalog(yard.ask("GET", "/architectures")), seeds=given["seeds"])
    if plan.grid is None:
        raise ValueError("a sweep cannot vary priority or preset; create one sweep for each value")
    base = {field: value for field, value in plan.base.items() if field not in space}
    search = {field: given[field] for field in ("method", "draws", "metric", "direction", "pruning")}
    body = {"base": base, "grid": plan.grid, "space": space, "seeds": given["seeds"], **name, **search}
    return {field: value for field, value in body.items() if value not in (None, {})}


def read_grid(entries: Sequence[str]) -> dict[str, list[Any]]:
    """Parse lists of values by field. Raises ValueError."""
    space = read_space(entries, "--set", "FIELD=A,B, e.g. lr=0.1,0.01")
    if any("choice" not in values for values in space.values()):
        raise ValueError("--set takes a list of values, not a range: lr=0.1,0.01")
    return {field: values["choice"] for field, values in space.items()}


def read_space(
    entries: Sequence[str], flag: str = "--space", form: str = "FIELD=LOW..HIGH or FIELD=A,B, e.g. lr=1e-5..1e-1:log"
) -> dict[str, dict[str, Any]]:
    """Parse ranges and choices by field, as POST /sweeps expects them. Raises ValueError."""
    space: dict[str, dict[str, Any]] = {}
    for entry in entries:
        field, separator, values = entry.partition("=")
        name = field.strip().replace("-", "_")
        low, dots, rest = values.partition("..")
        if not separator or not name or not values.strip():
            raise ValueError(f"{flag} must be {form}, not '{entry[:60]}'")
        if not dots:
            space[name] = {"choice": [_value(value) for value in values.split(",") if value.strip()]}
            continue
        high, _, suffix = rest.partition(":")
        space[name] = {"low": _bound(low, flag, entry), "high": _bound(high, flag, entry)}
        if suffix.strip() == "log":
            space[name]["log"] = True
        elif suffix.strip():
            space[name]["step"] = _bound(suffix, flag, entry)
    return space


def _bound(text: str, flag: str, entry: str) -> int | float:
    value = _value(text)
    if isinstance(value, str):
        raise ValueError(f"'{value[:30]}' is not a number in {flag} {entry[:60]}")
    return value


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def _any_value(values: Mapping[str, Any]) -> Any:
    return values["choice"][0] if "choice" in values else values["low"]


def ls(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="Maximum number of sweeps.")] = 30,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List sweeps, newest first."""
    with connected(url) as yard:
        listed = yard.sweeps(limit)
        if as_json:
            print_json({"sweeps": [entry.data for entry in listed]})
        elif listed:
            rows = [[str(entry.number), entry.status, entry.title, _done(entry), entry.id] for entry in listed]
            print_table(("#", "status", "sweep", "runs", "id"), rows, right=("#",))
        else:
            print("no sweeps")


def show(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Show the details of a sweep."""
    with connected(url) as yard:
        target = find_sweep(yard, name)
        if as_json:
            print_json(target.data)
        else:
            print_sweep(target)


def stop(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Stop a sweep and all of its runs."""
    with connected(url) as yard:
        target = find_sweep(yard, name).stop()
        if as_json:
            print_json(target.data)
        else:
            print_sweep(target)


def extend(
    name: Name,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="New total number of seeds per configuration.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, metavar="N", help="New total number of draws.")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=A,B", help="Additional values of a field. Can be repeated."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Add seeds, draws or values to a sweep."""
    with connected(url) as yard:
        more: dict[str, Any] = {"seeds": seeds, "draws": draws}
        more["grid"] = read_grid(grid or [])
        more = {key: value for key, value in more.items() if value not in (None, {})}
        if not more:
            raise ValueError("nothing to add; use --seeds, --draws or --set FIELD=A,B")
        target = find_sweep(yard, name).extend(**more)
        if as_json:
            print_json(target.data)
        else:
            print_sweep(target)


def _best(item: Sweep) -> str:
    best = item.best
    return f"{item.data['metric']} {best['value']:.4g}, #{best['number']}: {to_text(best['values'])}" if best else ""


def _done(item: Sweep) -> str:
    ended = sum(item.counts.get(status, 0) for status in ("succeeded", "failed", "cancelled"))
    return f"{ended} of {item.planned} ended"


def print_sweep(item: Sweep) -> None:
    """Print the details of a sweep."""
    print_fields(
        {
            "sweep": f"#{item.number} {item.title}",
            "id": item.id,
            "url": item.url,
            "status": item.status,
            "progress": _done(item),
            "statuses": item.counts,
            "reason": item.data["reason"],
            "best": _best(item),
            "importances": item.data["importances"],
            "left out": item.data["left_out"],
            "unmeasured": item.data["unmeasured"],
            "comparison": f"{item.url.partition('/sweeps/')[0]}{item.data['compare_url']}",
        }
    )


sweep.command("create")(_create())
for command in (ls, show, stop, extend):
    sweep.command()(command)

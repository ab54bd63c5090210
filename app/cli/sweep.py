"""`runyard sweep`: make sweeps, look at them, stop and extend them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, find_sweep, told
from app.cli.flags import parameters, read_flags
from app.cli.launch_plan import make_plan, read_catalog
from app.cli.output import AsJson, print_facts, print_json, print_table, words

if TYPE_CHECKING:
    from runyard import Runyard, Sweep

PANEL = "How it is searched"

sweep = typer.Typer(help="Make sweeps, look at them, stop and extend them.", no_args_is_help=True)


def _option(*flags: str, **said: Any) -> Any:
    return typer.Option(*flags, rich_help_panel=PANEL, **said)


One = Annotated[str, typer.Argument(metavar="SWEEP", help="By number or id.", autocompletion=completion.sweeps)]
File = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="A sweep as JSON, as POST /api/v1/sweeps takes it; - reads it."),
]
Seeds = Annotated[int, _option("--seeds", min=1, max=1000, metavar="N", help="So many runs of each, from --seed on.")]
Method = Annotated[str | None, _option("--method", metavar="WORD", help="grid, random or tpe.")]
Space = Annotated[
    list[str] | None,
    _option(
        "--space",
        metavar="FIELD=RANGE",
        help="What random and tpe draw from: lr=1e-5..1e-1:log, warmup=0..0.5:0.1 (in steps), optimizer=adam,sgd.",
    ),
]
Draws = Annotated[int | None, _option("--draws", min=1, metavar="N", help="So many points of the space.")]
Metric = Annotated[str | None, _option("--metric", metavar="NAME", help="What is searched for, like val/acc.")]
Direction = Annotated[str | None, _option("--direction", metavar="WORD", help="maximize or minimize.")]
Pruning = Annotated[str | None, _option("--pruning", metavar="WORD", help="Stop hopeless runs early: median or asha.")]


def _create() -> Callable[..., None]:
    """The command, with a flag for every field of a run beside its own."""
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
        """Make a sweep of every combination of the values that are named, by comma, or of what --space draws."""
        with told(url) as yard:
            said = read_flags(given)
            body = _read_file(file) if file else _body(yard, said, given)
            if file and said:
                raise ValueError("a file says all of a sweep, so leave the other flags out")
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
        said = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(said, dict) or not isinstance(said.get("base"), dict):
        raise ValueError(
            f'{file} is not a sweep; one looks like {{"base": {{"family": "vit"}}, "grid": {{"lr": [0.1]}}}}'
        )
    return said


def _body(yard: Runyard, said: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What POST /sweeps takes. Raises SpecError with all that is wrong with any run of the grid, and ValueError."""
    name = {"name": said.pop("name")} if "name" in said else {}
    space = read_space(given["space"] or [])
    # A field that is drawn needs no value of its own to be checked.
    drawn = {field: _some_value(values) for field, values in space.items()}
    checked = said | {
        field: [value] if field in ("family", "size", "dataset") else value for field, value in drawn.items()
    }
    plan = make_plan(checked, read_catalog(yard.ask("GET", "/architectures")), seeds=given["seeds"])
    if plan.grid is None:
        raise ValueError("a sweep cannot vary priority or preset; make one for each")
    base = {field: value for field, value in plan.base.items() if field not in space}
    search = {field: given[field] for field in ("method", "draws", "metric", "direction", "pruning")}
    body = {"base": base, "grid": plan.grid, "space": space, "seeds": given["seeds"], **name, **search}
    return {field: value for field, value in body.items() if value not in (None, {})}


def read_space(said: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Ranges and choices by field, as POST /sweeps takes them. Raises ValueError."""
    space: dict[str, dict[str, Any]] = {}
    for each in said:
        field, separator, values = each.partition("=")
        name = field.strip().replace("-", "_")
        low, dots, rest = values.partition("..")
        if not separator or not name or not values.strip():
            raise ValueError(f"--space wants field=low..high or field=a,b, like lr=1e-5..1e-1:log, not '{each[:60]}'")
        if not dots:
            space[name] = {"choice": [_value(value) for value in values.split(",") if value.strip()]}
            continue
        high, _, how = rest.partition(":")
        space[name] = {"low": _bound(low, each), "high": _bound(high, each)}
        if how.strip() == "log":
            space[name]["log"] = True
        elif how.strip():
            space[name]["step"] = _bound(how, each)
    return space


def _bound(said: str, whole: str) -> int | float:
    found = _value(said)
    if isinstance(found, str):
        raise ValueError(f"'{found[:30]}' is no number in --space {whole[:60]}")
    return found


def _value(said: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(said)
        except ValueError:
            continue
    return said.strip()


def _some_value(values: Mapping[str, Any]) -> Any:
    return values["choice"][0] if "choice" in values else values["low"]


def ls(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="So many at most.")] = 30,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List sweeps, the newest first."""
    with told(url) as yard:
        found = yard.sweeps(limit)
        if as_json:
            print_json({"sweeps": [each.data for each in found]})
        elif found:
            rows = [[str(each.number), each.status, each.title, _done(each), each.id] for each in found]
            print_table(("#", "status", "sweep", "runs", "id"), rows, right=("#",))
        else:
            print("no sweeps")


def show(name: One, as_json: AsJson = False, url: Url = None) -> None:
    """Say all about a sweep."""
    with told(url) as yard:
        found = find_sweep(yard, name)
        if as_json:
            print_json(found.data)
        else:
            _say(found)


def stop(name: One, as_json: AsJson = False, url: Url = None) -> None:
    """Launch no more of its runs, and stop those that there are."""
    with told(url) as yard:
        found = find_sweep(yard, name).stop()
        if as_json:
            print_json(found.data)
        else:
            _say(found)


def extend(
    name: One,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="To so many seeds of each.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, metavar="N", help="To so many draws in all.")] = None,
    grid: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=A,B", help="Further values of a field; several times.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Add seeds, draws or values to a sweep."""
    with told(url) as yard:
        more: dict[str, Any] = {"seeds": seeds, "draws": draws}
        more["grid"] = {field: values["choice"] for field, values in read_space(grid or []).items()}
        more = {key: value for key, value in more.items() if value not in (None, {})}
        if not more:
            raise ValueError("say what to add: --seeds, --draws, or --set field=values")
        found = find_sweep(yard, name).extend(**more)
        if as_json:
            print_json(found.data)
        else:
            _say(found)


def _best(found: Sweep) -> str:
    best = found.best
    return f"{found.data['metric']} {best['value']:.4g}, #{best['number']}: {words(best['values'])}" if best else ""


def _done(found: Sweep) -> str:
    ended = sum(found.counts.get(status, 0) for status in ("succeeded", "failed", "cancelled"))
    return f"{ended} of {found.planned}"


def _say(found: Sweep) -> None:
    print_facts(
        {
            "sweep": f"#{found.number} {found.title}",
            "id": found.id,
            "page": found.url,
            "status": found.status,
            "ended": _done(found),
            "runs": found.counts,
            "reason": found.data["reason"],
            "best": _best(found),
            "importances": found.data["importances"],
            "left out": found.data["left_out"],
            "compared": f"{found.url.partition('/sweeps/')[0]}{found.data['compare_url']}",
        }
    )


sweep.command("create")(_create())
for command in (ls, show, stop, extend):
    sweep.command()(command)

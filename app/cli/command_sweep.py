"""Options that make a sweep of `runyard exec` and `runyard program launch`: values, the search, and pruning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from app.cli.client import INTERRUPTED, warn
from app.cli.output import print_json
from app.cli.sweep import print_sweep, read_space
from app.contract.sweep import DEFAULT_DRAWS, METHODS, MOST_RUNS, PRUNERS, SEED

if TYPE_CHECKING:
    from runyard import Sweep

PANEL = "Sweep"
LARGEST_SEED = 2**32 - 1
GOALS = {"max": "maximize", "min": "minimize"}
FORM = "NAME=LOW..HIGH or NAME=A,B, e.g. lr=1e-5..1e-1:log"


def _option(*flags: str, **arguments: Any) -> Any:
    return typer.Option(*flags, rich_help_panel=PANEL, **arguments)


Swept = Annotated[
    list[str] | None,
    _option(
        "--sweep",
        metavar="NAME=VALUES",
        help="Execute the command with several values in place of {NAME}: lr=1e-4..1e-1:log, layers=2..8 (whole"
        " numbers), momentum=0..0.9:0.1 (step size) or optimizer=adam,sgd. Can be repeated.",
    ),
]
Trials = Annotated[
    int | None,
    _option(
        "--trials",
        min=1,
        max=MOST_RUNS,
        metavar="N",
        help=f"Number of configurations to try (default: {DEFAULT_DRAWS}, or all combinations of lists and steps).",
    ),
]
Method = Annotated[
    str | None,
    _option(
        "--method",
        metavar="NAME",
        help="Search method: grid, random or tpe (default: tpe with --trials or a range without steps, else grid).",
    ),
]
Metric = Annotated[
    str | None, _option("--metric", metavar="NAME", help="Metric that the script logs, to optimize (default: val/acc).")
]
Goal = Annotated[
    str | None,
    _option(
        "--goal",
        metavar="max|min",
        help="Which values of --metric are better (default: max for"
        " accuracies, F1, AUC, precision, recall and throughputs, else min).",
    ),
]
Prune = Annotated[
    str | None,
    _option("--prune", metavar="NAME", help="Stop unpromising runs early with SIGTERM: median or asha."),
]
PruneAfter = Annotated[
    int | None,
    _option(
        "--prune-after",
        min=1,
        metavar="N",
        help="Number of values of --metric before a run can be pruned (default: 1).",
    ),
]
PruneAfterRuns = Annotated[
    int | None,
    _option(
        "--prune-after-runs",
        min=1,
        metavar="N",
        help="Number of other runs that must have logged as many values before a run can be pruned (default: 4).",
    ),
]
Seeds = Annotated[
    int | None,
    _option(
        "--seeds", min=1, max=1000, metavar="N", help="Number of runs per configuration, with {seed} = 1, 2, …, N."
    ),
]


def read_sweep(
    entries: Sequence[str], seeds: int | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The placeholders and the sweep of a POST /commands/sweeps; None if no option asks for a sweep. Raises ValueError.

    ``options``: fields of the sweep by name, None if not given.
    """
    if not entries and seeds is None:
        refuse_search(options, f"--sweep {FORM}")
        return None
    placeholders: dict[str, Any] = {}
    for entry in entries:
        name, values = _placeholder(entry)
        if name in placeholders:
            raise ValueError(f"--sweep {name}=… is given twice; list all values in one")
        if name == SEED:
            raise ValueError("--sweep cannot vary seed; write --seeds N for the seeds 1 to N")
        placeholders[name] = values
    given = read_search(placeholders, options, "--sweep")
    if seeds is not None:
        # All of them are signed, so that the sweep can be extended later.
        placeholders[SEED] = {"low": 0, "high": LARGEST_SEED, "whole": True}
        given["seeds"] = seeds
    return placeholders, given


def refuse_search(options: Mapping[str, Any], needed: str) -> None:
    """Refuse options of a search where no value varies; ``needed``: what they need. Raises ValueError."""
    if given := [name for name, value in options.items() if value is not None]:
        raise ValueError(f"{_FLAGS[given[0]]} needs {needed}")


def read_search(space: Mapping[str, Any], options: Mapping[str, Any], varied: str) -> dict[str, Any]:
    """The fields of a SweepSpec that say how ``space`` is searched. Raises ValueError.

    ``options``: fields by name, None if not given; ``varied``: how several values are written.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "direction" in given:
        if given["direction"] not in GOALS:
            raise ValueError(f"--goal must be max or min, not '{given['direction'][:30]}'")
        given["direction"] = GOALS[given["direction"]]
    for name, known in (("method", METHODS), ("pruning", PRUNERS)):
        if name in given and given[name] not in known:
            listed = f"{', '.join(known[:-1])} or {known[-1]}"
            raise ValueError(f"{_FLAGS[name]} must be {listed}, not '{given[name][:30]}'")
    if "pruning" not in given and (late := [name for name in given if name.startswith("prune_after")]):
        raise ValueError(f"{_FLAGS[late[0]]} needs --prune median or --prune asha")
    if "method" not in given:
        discrete = all("choice" in values or "step" in values for values in space.values())
        given["method"] = "tpe" if space and ("draws" in given or not discrete) else "grid"
    if given["method"] == "grid" and "draws" in given:
        raise ValueError(f"--trials needs {varied} and --method random or tpe; a grid tries every combination")
    return given


_FLAGS = {
    "draws": "--trials",
    "method": "--method",
    "metric": "--metric",
    "direction": "--goal",
    "pruning": "--prune",
    "prune_after_epochs": "--prune-after",
    "prune_after_runs": "--prune-after-runs",
}


def _placeholder(entry: str) -> tuple[str, dict[str, Any]]:
    name, equals, text = entry.partition("=")
    name = name.strip()
    if not equals or not name or not text.strip():
        raise ValueError(f"--sweep must be {FORM}, not '{entry[:60]}'")
    if ".." in text and "," not in text:
        (values,) = read_space([entry], "--sweep", FORM).values()
        numbers = [value for key, value in values.items() if key != "log"]
        return name, values | {"whole": all(isinstance(number, int) for number in numbers)}
    choices = [choice_value(each.strip()) for each in text.split(",") if each.strip()]
    return name, {"choice": list({str(each): each for each in choices}.values())}


def choice_value(text: str) -> int | float | str:
    """A value of a list: a number if the number is written in the same way, or with an exponent, otherwise the text.

    The program then gets what was typed: 007 and 3.10 are no numbers.
    """
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number) and (str(number) == text or "e" in text.lower()):
            return number
    return text


def report_sweep(made: Sweep, wait: bool, as_json: bool) -> NoReturn:
    """Print a sweep that was launched, wait for it if asked to, and exit."""
    if not as_json:
        runs = f"{made.planned:,} run{'' if made.planned == 1 else 's'}"
        print(f"#{made.number} {made.title}: {runs}  {made.url}", flush=True)
    if wait:
        raise typer.Exit(0 if wait_for_sweep(made, as_json) else 1)
    if as_json:
        print_json(made.data)
    raise typer.Exit(0)


def wait_for_sweep(sweep: Sweep, as_json: bool) -> bool:
    """Wait until a sweep has ended and print it; returns whether a run of it succeeded."""
    try:
        ended = sweep.wait()
    except KeyboardInterrupt as error:
        warn(f"stopped waiting; the sweep continues (stop it with `runyard sweep stop {sweep.number}`)")
        raise typer.Exit(INTERRUPTED) from error
    if as_json:
        print_json(ended.data)
    else:
        print_sweep(ended)
    return bool(ended.counts.get("succeeded"))

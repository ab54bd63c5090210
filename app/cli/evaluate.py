"""`runyard evaluate` and `runyard robustness`: how good a run's best checkpoint is, and on spoiled images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_run
from app.cli.output import AsJson, percent, print_fields, print_json, print_table, run_name

if TYPE_CHECKING:
    from runyard import Run

Chosen = Annotated[str, typer.Argument(metavar="RUN", help="Run by number or id.", autocompletion=completion.runs)]


def evaluate(
    run: Chosen,
    part: Annotated[str, typer.Option(help="Split: test or validation.")] = "test",
    head: Annotated[str, typer.Option(help="Target, for a network with several (default: the main one).")] = "",
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show accuracy, calibration and the scores of each class; predicts the images if no predictions were kept."""
    from runyard import RunyardError

    with connected(url) as yard:
        chosen = find_run(yard, run)
        try:
            found = chosen.predictions(head=head, part=part)
        except RunyardError as error:
            if error.status != 409:
                raise
            # 409: there are no predictions; the job says why there can be none.
            with _progress("Predicting") as progress:
                chosen.evaluate(progress=progress)
            found = chosen.predictions(head=head, part=part)
        print_json(found) if as_json else _print_evaluation(chosen, found)


def _print_evaluation(run: Run, found: dict[str, Any]) -> None:
    others = [name for name in found["heads"] if name != found["head"]]
    print_fields(
        {
            "run": f"#{run.number} {run_name(run.data)}",
            "images": f"{found['images']:,} of the {found['part']} split",
            "target": f"{found['head']} (also: {', '.join(others)})" if others else found["head"],
            "epoch": found["epoch"],
            "accuracy": percent(found["accuracy"]),
            "calibration error": percent(found["calibration_error"]),
        }
    )
    print()
    rows = [
        (each["label"], *(percent(each[name]) for name in ("precision", "recall", "f1")), each["support"])
        for each in found["classes"]
    ]
    columns = ("class", "precision", "recall", "F1", "images")
    print_table(columns, rows, right=columns[1:])


def robustness(
    run: Chosen,
    seed: Annotated[int, typer.Option(min=0, help="Seed of noise and everything else that is random.")] = 0,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show the accuracy on test images spoiled in 15 ways and 5 strengths; measures it unless it is known."""
    with connected(url) as yard:
        chosen = find_run(yard, run)
        with _progress("Testing spoiled images") as progress:
            found = chosen.robustness(seed=seed, progress=progress)
        print_json(found) if as_json else _print_robustness(chosen, found)


def _print_robustness(run: Run, found: dict[str, Any]) -> None:
    print_fields(
        {
            "run": f"#{run.number} {run_name(run.data)}",
            "images": f"{found['images']:,} of the test split",
            "epoch": found["epoch"],
            "seed": str(found["seed"]),
        }
    )
    columns = ("corruption", *(f"strength {i + 1}" for i in range(found["strengths"])), "mean")
    for head, by_name in found["accuracy"].items():
        print()
        print(f"{head}: {percent(found['clean'][head])} unchanged, {percent(found['mean'][head])} spoiled, on average")
        rows = [
            (name.replace("_", " "), *(percent(value) for value in values), percent(sum(values) / len(values)))
            for name, values in by_name.items()
        ]
        print_table(columns, rows, right=columns[1:])


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[float], None] | None]:
    """Show the share that is done on one line of a terminal, and erase it at the end."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = False

    def show(share: float) -> None:
        nonlocal shown
        shown = True
        print(f"\r{doing}: {share:.0%}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

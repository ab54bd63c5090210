"""`runyard predict` and `runyard alias`: predict images with a run or a model, and name models."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_run, warn
from app.cli.output import AsJson, local_time, print_json, print_table

if TYPE_CHECKING:
    from runyard import Prediction, Run, Runyard

BATCH = 64
BATCH_BYTES = 16 * 2**20
"""Bytes of images in a request, which base64 makes a third larger."""

Target = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Run by number or id, or the name of a model.", autocompletion=completion.runs),
]


def predict(
    run: Target,
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Image files.")],
    checkpoint: Annotated[str, typer.Option(help="best or last; a model is always the best one.")] = "best",
    center: Annotated[str, typer.Option(help="Place drawings as the dataset's digits were: auto, on or off.")] = "auto",
    top: Annotated[int, typer.Option(min=0, help="Only this many classes; 0: all.")] = 0,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Predict the classes of images; prints CSV with a row for each image and head."""
    with connected(url) as yard:
        missing = next((path for path in pictures if not path.is_file()), None)
        if missing is not None:
            raise ValueError(f"{missing} is not a file")
        target = _find(yard, run)
        from app.formats.csv_cells import CsvWriter

        rows = CsvWriter(sys.stdout)
        found: list[dict[str, Any]] = []
        for batch in _batches(pictures):
            options: dict[str, Any] = {"center": center, "top": top}
            predictions = (
                yard.predict(target, batch, **options)
                if isinstance(target, str)
                else target.predict(batch, checkpoint=checkpoint, **options)
            )
            if as_json:
                found += [_as_json(path, each) for path, each in zip(batch, predictions, strict=True)]
                continue
            if batch[0] == pictures[0]:
                rows.row(("picture", "head", "class", "probability", *_classes(predictions[0], top)))
            for path, each in zip(batch, predictions, strict=True):
                rows.rows(_rows(path, each, top))
        if as_json:
            print_json({"predictions": found})


def _find(yard: Runyard, name: str) -> Run | str:
    """A run, or the name of a model."""
    if name in {model["name"] for model in yard.models()}:
        return name
    return find_run(yard, name)


def _batches(pictures: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in pictures:
        more = path.stat().st_size
        if batch and (len(batch) == BATCH or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += more
    yield batch


def _classes(prediction: Prediction, top: int) -> list[str]:
    """Columns of probabilities: one for each class where there is one head, and all its classes are known."""
    return [] if top or len(prediction.heads) > 1 else list(prediction.probabilities)


def _rows(path: Path, prediction: Prediction, top: int) -> Iterator[list[Any]]:
    for head, found in prediction.heads.items():
        probabilities = [f"{found['probabilities'][name]:.6f}" for name in _classes(prediction, top)]
        yield [str(path), head, found["label"], f"{found['probability']:.6f}", *probabilities]


def _as_json(path: Path, prediction: Prediction) -> dict[str, Any]:
    return {"picture": str(path), **prediction._asdict()}


# Aliases -------------------------------------------------------------------------------------------------------------

alias = typer.Typer(name="alias", help="Names that point to the best checkpoint of a run.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name, such as digits-production.")]


@alias.command("ls")
def ls(as_json: AsJson = False, url: Url = None) -> None:
    """List all names and the runs that they point to."""
    with connected(url) as yard:
        models = yard.models()
        if as_json:
            print_json({"models": models})
            return
        rows = [
            (each["name"], f"#{each['number']}", each["title"], local_time(each["moved"]), len(each["history"]))
            for each in models
        ]
        print_table(("name", "run", "title", "since", "moves"), rows, right=("moves",))


@alias.command("set")
def set_(
    name: Name,
    run: Annotated[str, typer.Argument(help="Run by number or id.", autocompletion=completion.runs)],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Let a name point to a run's best checkpoint; one that exists moves."""
    with connected(url) as yard:
        model = yard.set_model(name, find_run(yard, run), _user())
        if as_json:
            print_json(model)
        else:
            if model["warning"]:
                warn(model["warning"])
            print(f"{name} points to run #{model['number']}: {yard.url}{model['predict']}")


@alias.command("rm")
def rm(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Remove a name; the run stays."""
    with connected(url) as yard:
        yard.delete_model(name)
        print_json({"deleted": name}) if as_json else print(f"{name} removed")


def _user() -> str:
    """Who runs this command, "" if the system does not say."""
    import getpass

    try:
        return getpass.getuser()[:100]
    except (OSError, KeyError, ImportError):
        return ""

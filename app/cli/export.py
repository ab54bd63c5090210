"""`runyard export`: the table of runs, or curves of runs, as CSV, JSON, Parquet or TensorBoard's event files."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from app.cli import completion
from app.cli.client import Url, find_runs, told
from app.cli.runs import Dataset, Family, Size, Sort, Status, Tag, Words, filters

if TYPE_CHECKING:
    from runyard import Curve, Run, Runyard

FACTS = ("number", "id", "title", "status", "reason", "created", "started", "ended", "seconds", "params", "device")

Written = Literal["csv", "json", "parquet", "tfevents"]
SUFFIXES: dict[str, Written] = {f".{each}": each for each in get_args(Written) if each != "tfevents"}

Named = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN…",
        help="The curves of this run, or of several with tfevents; left out: runs.",
        autocompletion=completion.runs,
    ),
]
Format = Annotated[
    Written | None,
    typer.Option(
        "--format",
        help="csv or json; of runs also parquet, of named runs tfevents (for TensorBoard)."
        " Left out: what FILE's suffix says, else csv.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Left out: printed. With tfevents a folder, in which each run has one of its own.",
    ),
]


def export(
    run: Named = None,
    output: Output = None,
    written: Format = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    metric: Annotated[list[str] | None, typer.Option(metavar="A,B,…", help="Of a run: these metrics.")] = None,
    status: Status = None,
    family: Family = None,
    size: Size = None,
    dataset: Dataset = None,
    tag: Tag = None,
    q: Words = None,
    sort: Sort = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="So many runs at most.")] = None,
    url: Url = None,
) -> None:
    """Write runs with their settings and figures, or every point of the curves of a run."""
    with told(url) as yard:
        chosen = _format(output, "json" if as_json else written)
        if run:
            names = [part.strip() for value in metric or [] for part in value.split(",") if part.strip()]
            _export_curves(yard, run, names, output, chosen)
            return
        where = filters(status, family, size, dataset, tag, q, sort)
        if chosen == "tfevents":
            raise ValueError(
                "tfevents has the curves of runs: name them, as in `runyard export 12 --format tfevents -o logs`"
            )
        if chosen == "parquet":
            if limit is not None:
                raise ValueError("parquet has every run that matches; --limit is for csv and json")
            _save_parquet(yard, output, where)
            return
        found = yard.runs(limit=limit, **where)
        with _opened(output) as file:
            if chosen == "json":
                file.write(json.dumps({"runs": [each.data for each in found]}) + "\n")
            else:
                _write_runs(file, list(found))


def _format(output: Path | None, asked: Written | None) -> Written:
    """What is asked for, or what the file's suffix says. Raises ValueError where they disagree, or neither says it."""
    suffix = output.suffix if output is not None else ""
    said = SUFFIXES.get(suffix.lower())
    if suffix and said is None and asked is None:
        raise ValueError(
            f"no format has the suffix {suffix}; suffixes: {', '.join(SUFFIXES)} (tfevents goes into a folder, with"
            " --format tfevents)"
        )
    if asked is not None and said is not None and said != asked:
        raise ValueError(f"{output} is {said} by its suffix, but {asked} was asked for; change one of the two")
    return asked or said or "csv"


def _export_curves(yard: Runyard, named: list[str], metrics: list[str], output: Path | None, written: Written) -> None:
    """The curves of the runs that are named; of several only as event files. Raises ValueError and RunyardError."""
    if written == "parquet":
        raise ValueError("the curves of a run are written as csv, json or tfevents; parquet is for the table of runs")
    if written == "tfevents" and output is None:
        raise ValueError("an event file is no text; name the folder that it goes to with -o")
    runs = find_runs(yard, named)
    if not runs:
        raise ValueError("name a run by its number or id; for the table of runs, leave it out")
    if written == "tfevents" and output is not None:
        for each in runs:
            print(_write_events(output, each, each.curves(metrics)))
        return
    if len(runs) > 1:
        raise ValueError(f"{written} has the curves of one run; those of several are written with --format tfevents")
    curves = runs[0].curves(metrics)
    with _opened(output) as file:
        _write_curves(file, curves, written)


def _write_events(output: Path, run: Run, curves: Mapping[str, Curve]) -> Path:
    """An event file under a name that TensorBoard looks for, in a folder of the run's own: all in one are one run."""
    from datetime import datetime

    from app.formats.tfevents import Scalar, write_events

    began = datetime.fromisoformat(run.data["started"] or run.data["created"]).timestamp()
    folder = output / folder_name(run.number, run.data["title"])
    folder.mkdir(parents=True, exist_ok=True)
    points = (
        Scalar(name, int(step), float(value), float(time))
        for name, curve in curves.items()
        for step, value, time in zip(curve.step, curve.value, curve.time, strict=True)
    )
    path = folder / f"events.out.tfevents.{began:.0f}.runyard-{run.number}"
    with path.open("wb") as file:
        file.writelines(write_events(points, began))
    return path


def folder_name(number: int, title: str) -> str:
    """What a run's own folder is called: its number, and as much of its title as any file system takes."""
    said = re.sub(r"[^\w.]+", "-", title)[:50].strip("-.")
    return f"{number}-{said}" if said else str(number)


def _save_parquet(yard: Runyard, output: Path | None, where: Mapping[str, Any]) -> None:
    """What the server writes, since that takes a library which the program itself need not have."""
    from runyard import RunyardError

    if output is None:
        raise ValueError("Parquet is no text; name the file that it goes to with -o")
    asked = {name: value for name, value in where.items() if value not in (None, [], "")}
    with yard._http.stream("GET", "/api/v1/runs.parquet", params=asked) as answer:
        if answer.status_code != 200:
            answer.read()
            raise RunyardError(str(answer.json().get("detail", answer.text)), answer.status_code)
        with output.open("wb") as file:
            file.writelines(answer.iter_bytes())


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    if output is None:
        yield sys.stdout
    else:
        with output.open("w", encoding="utf-8", newline="") as file:
            yield file


def _write_runs(file: IO[str], runs: list[Run]) -> None:
    """A row a run: facts, every setting, and of every metric the figure that stands for the run."""
    settings = list(dict.fromkeys(name for run in runs for name in run.spec if name not in ("name", "notes")))
    own = list(dict.fromkeys(name for run in runs for name in run.data.get("parameters") or ()))
    metrics = sorted({name for run in runs for name in run.summary})
    rows = csv.writer(file, lineterminator="\n")
    # What was asked for has another name than what it was trained on.
    heads = ["device_wanted" if name == "device" else name for name in settings]
    rows.writerow([*FACTS, *heads, *(f"param.{name}" for name in own), *metrics])
    for run in runs:
        facts = [run.data[name] for name in FACTS]
        said = run.data.get("parameters") or {}
        known = [*(run.spec.get(name) for name in settings), *(said.get(name) for name in own)]
        rows.writerow([*map(_cell, [*facts, *known]), *map(run.figure, metrics)])


def _cell(value: Any) -> Any:
    """A value in a cell. One that a spreadsheet would take for a formula is led by an apostrophe."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value) if value else ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _write_curves(file: IO[str], curves: Mapping[str, Curve], written: Written) -> None:
    """A row a point; what is not finite is blank, in JSON null."""
    lists = {
        name: {part: list(map(_number, getattr(curve, part))) for part in curve._fields}
        for name, curve in curves.items()
    }
    if written == "json":
        file.write(json.dumps(lists, allow_nan=False) + "\n")
        return
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("metric", "step", "value", "time"))
    for name, curve in lists.items():
        rows.writerows((name, *point) for point in zip(curve["step"], curve["value"], curve["time"], strict=True))


def _number(value: Any) -> int | float | None:
    plain = value.item() if hasattr(value, "item") else value
    return plain if math.isfinite(plain) else None

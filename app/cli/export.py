"""`runyard export`: writes the run table or curves of runs as CSV, JSON, Parquet or TensorBoard event files."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_runs
from app.cli.runs import Dataset, Family, Query, Size, Sort, Status, Tag, filters

if TYPE_CHECKING:
    from runyard import Curve, Run, Runyard

INFO_COLUMNS = (
    "number",
    "id",
    "title",
    "status",
    "reason",
    "created",
    "started",
    "ended",
    "seconds",
    "params",
    "device",
)

Format = Literal["csv", "json", "parquet", "tfevents"]
SUFFIXES: dict[str, Format] = {f".{name}": name for name in get_args(Format) if name != "tfevents"}

Named = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN…",
        help="Runs whose curves to export; more than one only with --format tfevents (default: export the run table).",
        autocompletion=completion.runs,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Output format: csv, json, parquet (run table only) or tfevents (curves only; TensorBoard)."
        " Default: from FILE's suffix, else csv.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Output file (default: standard output). With tfevents, a folder with one subfolder per run.",
    ),
]


def export(
    run: Named = None,
    output: Output = None,
    format_: FormatOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="A,B,…", help="Metrics to export; only with RUN (default: all).")
    ] = None,
    status: Status = None,
    family: Family = None,
    size: Size = None,
    dataset: Dataset = None,
    tag: Tag = None,
    q: Query = None,
    sort: Sort = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Maximum number of runs.")] = None,
    url: Url = None,
) -> None:
    """Export the run table, or every point of a run's curves."""
    with connected(url) as yard:
        chosen = _choose_format(output, "json" if as_json else format_)
        if run:
            names = [part.strip() for value in metric or [] for part in value.split(",") if part.strip()]
            _export_curves(yard, run, names, output, chosen)
            return
        where = filters(status, family, size, dataset, tag, q, sort)
        if chosen == "tfevents":
            raise ValueError(
                "tfevents exports curves; specify the runs, e.g. `runyard export 12 --format tfevents -o logs`"
            )
        if chosen == "parquet":
            if limit is not None:
                raise ValueError("--limit is not available for Parquet, which exports every matching run")
            _save_parquet(yard, output, where)
            return
        runs = yard.runs(limit=limit, **where)
        with _opened(output) as file:
            if chosen == "json":
                file.write(json.dumps({"runs": [item.data for item in runs]}) + "\n")
            else:
                _write_runs(file, list(runs))


def _choose_format(output: Path | None, requested: Format | None) -> Format:
    """Return the requested format, or that of the file's suffix. Raises ValueError if they differ or are unknown."""
    suffix = output.suffix if output is not None else ""
    by_suffix = SUFFIXES.get(suffix.lower())
    if suffix and by_suffix is None and requested is None:
        raise ValueError(
            f"unknown file suffix {suffix}; suffixes: {', '.join(SUFFIXES)} (tfevents needs a folder and"
            " --format tfevents)"
        )
    if requested is not None and by_suffix is not None and by_suffix != requested:
        raise ValueError(f"the suffix of {output} means {by_suffix}, but the requested format is {requested}")
    return requested or by_suffix or "csv"


def _export_curves(yard: Runyard, names: list[str], metrics: list[str], output: Path | None, format_: Format) -> None:
    """Export curves of the named runs; of several runs only as event files. Raises ValueError and RunyardError."""
    if format_ == "parquet":
        raise ValueError("Parquet is only available for the run table; export curves as csv, json or tfevents")
    if format_ == "tfevents" and output is None:
        raise ValueError("event files are binary; specify an output folder with -o")
    runs = find_runs(yard, names)
    if not runs:
        raise ValueError("specify a run by number or id, or omit RUN to export the run table")
    if format_ == "tfevents" and output is not None:
        for run in runs:
            print(_write_events(yard, output, run, metrics))
        return
    if len(runs) > 1:
        raise ValueError(f"{format_} can export the curves of only one run; use --format tfevents for several")
    curves = runs[0].curves(metrics)
    with _opened(output) as file:
        _write_curves(file, curves, format_)


def _write_events(yard: Runyard, output: Path, run: Run, metrics: Sequence[str]) -> Path:
    """Write an event file in a separate folder, since TensorBoard shows all files of a folder as one run.

    Without ``metrics``, it has everything: images, histograms and texts too.
    """
    from datetime import datetime

    from app.formats.summary_values import Scalar
    from app.formats.tfevents import write_events

    began = datetime.fromisoformat(run.data["started"] or run.data["created"]).timestamp()
    folder = output / folder_name(run.number, run.data["title"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{began:.0f}.runyard-{run.number}"
    if not metrics:
        _download(yard, f"/api/v1/runs/{run.id}/curves.tfevents", {}, path)
        return path
    points = (
        Scalar(name, int(step), float(value), float(time))
        for name, curve in run.curves(metrics).items()
        for step, value, time in zip(curve.step, curve.value, curve.time, strict=True)
    )
    with path.open("wb") as file:
        file.writelines(write_events(points, began))
    return path


def _download(yard: Runyard, address: str, query: Mapping[str, Any], path: Path) -> None:
    """Save what the server writes. Raises RunyardError."""
    from runyard import RunyardError

    with yard._http.stream("GET", address, params=query) as response:
        if response.status_code != 200:
            response.read()
            raise RunyardError(str(response.json().get("detail", response.text)), response.status_code)
        with path.open("wb") as file:
            file.writelines(response.iter_bytes())


def folder_name(number: int, title: str) -> str:
    """Return the name of a run's folder: its number, and the part of its title that is safe on any file system."""
    slug = re.sub(r"[^\w.]+", "-", title)[:50].strip("-.")
    return f"{number}-{slug}" if slug else str(number)


def _save_parquet(yard: Runyard, output: Path | None, where: Mapping[str, Any]) -> None:
    """Save the Parquet file from the server, because writing it needs a library that the client may not have."""
    if output is None:
        raise ValueError("Parquet is binary; specify an output file with -o")
    query = {name: value for name, value in where.items() if value not in (None, [], "")}
    _download(yard, "/api/v1/runs.parquet", query, output)


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    if output is None:
        yield sys.stdout
    else:
        with output.open("w", encoding="utf-8", newline="") as file:
            yield file


def _write_runs(file: IO[str], runs: list[Run]) -> None:
    """Write one row per run: general columns, every setting, and the headline value of every metric."""
    from app.formats.csv_cells import CsvWriter

    settings = list(dict.fromkeys(name for run in runs for name in run.spec if name not in ("name", "notes")))
    parameters = list(dict.fromkeys(name for run in runs for name in run.data.get("parameters") or ()))
    metrics = sorted({name for run in runs for name in run.summary})
    rows = CsvWriter(file)
    # The requested device, in contrast to the device that trained the run.
    header = ["device_wanted" if name == "device" else name for name in settings]
    rows.row([*INFO_COLUMNS, *header, *(f"param.{name}" for name in parameters), *metrics])
    for run in runs:
        logged = run.data.get("parameters") or {}
        cells = [
            *(run.data[name] for name in INFO_COLUMNS),
            *(run.spec.get(name) for name in settings),
            *(logged.get(name) for name in parameters),
        ]
        rows.row([*cells, *map(run.figure, metrics)])


def _write_curves(file: IO[str], curves: Mapping[str, Curve], format_: Format) -> None:
    """Write one row per point; values that are not finite are blank, or null in JSON."""
    lists = {
        name: {part: list(map(_number, getattr(curve, part))) for part in curve._fields}
        for name, curve in curves.items()
    }
    if format_ == "json":
        file.write(json.dumps(lists, allow_nan=False) + "\n")
        return
    from app.formats.csv_cells import CsvWriter

    rows = CsvWriter(file)
    rows.row(("metric", "step", "value", "time"))
    for name, curve in lists.items():
        rows.rows((name, *point) for point in zip(curve["step"], curve["value"], curve["time"], strict=True))


def _number(value: Any) -> int | float | None:
    plain = value.item() if hasattr(value, "item") else value
    return plain if math.isfinite(plain) else None

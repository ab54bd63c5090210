"""`runyard architectures`: lists the catalog with exact parameter counts, and checks them on request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.settings import read_settings
from app.contract.datasets import DATASETS

ROOT = Path(__file__).resolve().parents[2]
# Without a terminal, every row is one line, however long.
UNLIMITED_WIDTH = 1000

Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Build every network and check its parameter count. Exits with status 1 on a mismatch."
    ),
]
Dataset = Annotated[str | None, typer.Option(help="Count parameters for this dataset.", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def architectures(check: Check = False, dataset: Dataset = None, as_json: AsJson = False) -> None:
    """List all architectures with exact parameter counts, including those in RUNYARD_MODELS_PATH."""
    DATASETS.open(read_settings().datasets)
    if dataset is not None and dataset not in DATASETS:
        print(f"runyard: no dataset '{dataset[:40]}'; datasets: {', '.join(DATASETS)}", file=sys.stderr)
        raise typer.Exit(2)
    if dataset is not None and check:
        print("runyard: --check cannot be combined with --dataset: it checks the registered counts", file=sys.stderr)
        raise typer.Exit(2)
    catalog = _read(check, dataset)
    differences = [sentence for row in catalog["rows"] if (sentence := _difference(row, catalog["columns"]))]
    if as_json:
        print(json.dumps(_as_json(catalog)))
    else:
        _show(catalog)
    for name, reason in catalog["broken"].items():
        verb = "cannot be built" if "/" in name else "could not be loaded"
        print(f"runyard: {name} {verb}: {reason}", file=sys.stderr)
    for sentence in differences:
        print(f"runyard: {sentence}", file=sys.stderr)
    if check and (differences or catalog["broken"]):
        raise typer.Exit(1)
    if check and not as_json:
        print(f"OK: all {sum(len(row['actual']) for row in catalog['rows'])} parameter counts match")


def _read(check: bool, dataset: str | None) -> dict[str, Any]:
    """Return the output of `python -m models`, a separate process because the networks import torch."""
    settings = read_settings()
    # -P: ignore a folder called models in the working directory.
    command = [sys.executable, "-P", "-m", "models"]
    if check:
        command += ["--check"]
    if dataset is not None:
        info = DATASETS[dataset]
        command += ["--shape", dataset, str(info.channels), str(info.side), str(info.targets[0].classes)]
    if settings.models_path is not None:
        command += ["--folder", str(settings.models_path.expanduser().absolute())]
    process = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    try:
        catalog: dict[str, Any] = json.loads(process.stdout)
    except ValueError:
        print("runyard: could not load the architectures; see the error above", file=sys.stderr)
        raise typer.Exit(1) from None
    return catalog


def _difference(row: dict[str, Any], columns: list[str]) -> str:
    if not row["registered"] or not row["actual"] or row["registered"] == row["actual"]:
        return ""
    name = f"{row['family']}/{row['size']}"
    return "; ".join(
        f"{name} has {actual:,} parameters on {column}, but {registered:,} are registered"
        for column, registered, actual in zip(columns, row["registered"], row["actual"], strict=True)
        if registered != actual
    )


def _as_json(catalog: dict[str, Any]) -> dict[str, Any]:
    listed = [
        {key: row[key] for key in ("family", "size", "default", "definition", "source")}
        | {
            name: dict(zip(catalog["columns"], row[name], strict=False))
            for name in ("registered", "actual")
            if row[name]
        }
        for row in catalog["rows"]
    ]
    return {"architectures": listed, "broken": catalog["broken"]}


def _show(catalog: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    in_terminal = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("family", "size", "definition"):
        table.add_column(name, no_wrap=name != "definition", overflow="fold")
    for column in catalog["columns"]:
        table.add_column(column, justify="right", no_wrap=True)
    family = ""
    for row in catalog["rows"]:
        is_first = row["family"] != family
        if is_first and family and in_terminal:
            table.add_section()
        family = row["family"]
        counts = row["actual"] or row["registered"]
        cells = [f"{count:,}" for count in counts] or ["–"] * len(catalog["columns"])
        size = row["size"] + (" (default)" if row["default"] else "")
        # For programs, every row repeats the family.
        label = family if is_first or not in_terminal else ""
        table.add_row(*(Text(cell) for cell in (label, size, row["definition"], *cells)))
    Console(width=None if in_terminal else UNLIMITED_WIDTH, highlight=False).print(table)

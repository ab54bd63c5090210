"""`runyard architectures`: the catalog with its exact parameter counts, recounted on the networks where asked."""

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
# Where the output is no terminal, a row is a line, however long.
UNLIMITED_WIDTH = 1000

Check = Annotated[bool, typer.Option("--check", help="Count every size on its network; status 1 if a count differs.")]
Dataset = Annotated[str | None, typer.Option(help="Count for this dataset.", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def architectures(check: Check = False, dataset: Dataset = None, as_json: AsJson = False) -> None:
    """List every architecture with its exact parameter counts, those of RUNYARD_MODELS_PATH included."""
    if dataset is not None and dataset not in DATASETS:
        print(f"runyard: no dataset '{dataset[:40]}'; datasets: {', '.join(DATASETS)}", file=sys.stderr)
        raise typer.Exit(2)
    if dataset is not None and check:
        print("runyard: --check counts where registrations give counts, so leave --dataset out", file=sys.stderr)
        raise typer.Exit(2)
    found = _read(check, dataset)
    differing = [sentence for row in found["rows"] if (sentence := _difference(row, found["columns"]))]
    if as_json:
        print(json.dumps(_as_json(found)))
    else:
        _show(found)
    for name, reason in found["broken"].items():
        verb = "cannot be built" if "/" in name else "could not be loaded"
        print(f"runyard: {name} {verb}: {reason}", file=sys.stderr)
    for sentence in differing:
        print(f"runyard: {sentence}", file=sys.stderr)
    if check and (differing or found["broken"]):
        raise typer.Exit(1)
    if check and not as_json:
        print(f"OK: {sum(len(row['counted']) for row in found['rows'])} counts are those of the networks")


def _read(check: bool, dataset: str | None) -> dict[str, Any]:
    """What `python -m models` prints; networks are looked at in a process of their own, since they import torch."""
    settings = read_settings()
    # -P: a folder called models where the user stands is not ours.
    command = [sys.executable, "-P", "-m", "models"]
    if check:
        command += ["--check"]
    if dataset is not None:
        facts = DATASETS[dataset]
        command += ["--shape", dataset, str(facts.channels), str(facts.side), str(facts.targets[0].classes)]
    if settings.models_path is not None:
        command += ["--folder", str(settings.models_path.expanduser().absolute())]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        print("runyard: the networks could not be looked at, for the reason above", file=sys.stderr)
        raise typer.Exit(1) from None
    return found


def _difference(row: dict[str, Any], columns: list[str]) -> str:
    if not row["said"] or not row["counted"] or row["said"] == row["counted"]:
        return ""
    wrong = [
        f"{counted:,} parameters at {column}, not {said:,}"
        for column, said, counted in zip(columns, row["said"], row["counted"], strict=True)
        if said != counted
    ]
    return f"{row['family']}/{row['size']} has {', '.join(wrong)}"


def _as_json(found: dict[str, Any]) -> dict[str, Any]:
    listed = [
        {key: row[key] for key in ("family", "size", "default", "definition", "source")}
        | {name: dict(zip(found["columns"], row[name], strict=False)) for name in ("said", "counted") if row[name]}
        for row in found["rows"]
    ]
    return {"architectures": listed, "broken": found["broken"]}


def _show(found: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    read_by_people = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("family", "size", "definition"):
        table.add_column(name, no_wrap=name != "definition", overflow="fold")
    for column in found["columns"]:
        table.add_column(column, justify="right", no_wrap=True)
    family = ""
    for row in found["rows"]:
        begins = row["family"] != family
        if begins and family and read_by_people:
            table.add_section()
        family = row["family"]
        counts = row["counted"] or row["said"]
        shown = [f"{count:,}" for count in counts] or ["–"] * len(found["columns"])
        size = row["size"] + (" (default)" if row["default"] else "")
        # A program that reads it wants every row to stand for itself.
        cells = (family if begins or not read_by_people else "", size, row["definition"], *shown)
        table.add_row(*(Text(cell) for cell in cells))
    Console(width=None if read_by_people else UNLIMITED_WIDTH, highlight=False).print(table)

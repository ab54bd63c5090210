"""`runyard export-model`: save the network of a run as ONNX, as a torch.export program or as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_runs
from app.cli.output import AsJson, print_json

ModelFormat = Literal["onnx", "torch_export", "safetensors"]
SUFFIXES: dict[str, ModelFormat] = {".onnx": "onnx", ".pt2": "torch_export", ".safetensors": "safetensors"}


def export_model(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run by number or id.", autocompletion=completion.runs)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output file (default: run-NUMBER.SUFFIX)."),
    ] = None,
    format_: Annotated[
        ModelFormat | None,
        typer.Option("--format", help="onnx, torch_export or safetensors. Default: from FILE's suffix, else onnx."),
    ] = None,
    preprocessing: Annotated[
        bool,
        typer.Option(
            "--preprocessing/--no-preprocessing",
            help="Whether the file takes raw pixels and normalizes them itself.",
        ),
    ] = True,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Save the network of a run's best checkpoint, checked against torch."""
    with connected(url) as yard:
        chosen = _choose_format(output, format_)
        (found,) = find_runs(yard, [run])
        suffix = next(name for name, each in SUFFIXES.items() if each == chosen)
        path = output or Path(f"run-{found.number}{suffix}")
        if not path.parent.is_dir():
            raise ValueError(f"no folder {path.parent}")
        result = found.export(chosen, path, preprocessing=preprocessing)
        if as_json:
            print_json({"path": str(path)} | result)
            return
        line = f"{path}: {sum(file['bytes'] for file in result['files']):,} bytes"
        if result["difference"] is not None:
            line += f"; differs from torch by at most {result['difference']:.1e} on {result['pictures']} test images"
        print(line)


def _choose_format(output: Path | None, requested: ModelFormat | None) -> ModelFormat:
    """Return the requested format, or that of the file's suffix. Raises ValueError if the suffix is unknown."""
    if requested is not None:
        return requested
    if output is None or not output.suffix:
        return "onnx"
    by_suffix = SUFFIXES.get(output.suffix.lower())
    if by_suffix is None:
        raise ValueError(f"unknown file suffix {output.suffix}; suffixes: {', '.join(SUFFIXES)}")
    return by_suffix

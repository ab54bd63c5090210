"""`runyard files`: list the files of a run, and download one or all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import completion
from app.cli.client import Url, connected, find_runs
from app.cli.output import AsJson, local_time, print_json, print_table


def files(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run by number or id.", autocompletion=completion.runs)],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="File to download; with a / at its end, folder to list.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File or folder to save to (default: the current folder)."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Download all files as a zip archive.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List the files of a run, or download one of them."""
    with connected(url) as yard:
        if everything and path:
            raise ValueError("give a PATH or --all, not both")
        (found,) = find_runs(yard, [run])
        if everything or (path and not path.endswith("/")):
            saved = found.download(path, output)
            print_json({"path": str(saved), "bytes": saved.stat().st_size}) if as_json else print(saved)
            return
        if output is not None:
            raise ValueError("-o needs the PATH of a file to download, or --all")
        listed = found.files(path.rstrip("/"))
        if as_json:
            print_json(listed)
            return
        rows = [[each["path"], each["bytes"], each["source"], local_time(each["created"])] for each in listed]
        print_table(("path", "bytes", "source", "written"), rows, right=("bytes",))

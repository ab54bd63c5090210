"""`runyard backup` and `runyard restore`: the whole data folder as one file, also while Runyard runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.output import AsJson, print_json
from app.cli.serve import DataDir
from app.cli.settings import read_settings

if TYPE_CHECKING:
    from app.services.backup import Manifest, Told


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, such as yard.tar; it must not exist.")],
    data_dir: DataDir = None,
    downloads: Annotated[
        bool, typer.Option("--downloads", help="Include the built-in datasets, which can be downloaded again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Back up the data folder, also while Runyard runs: runs, curves, checkpoints, files and your own datasets."""
    from app.services.backup import back_up

    settings = read_settings(data_dir=data_dir)
    began = time.monotonic()
    with _told() as told:
        manifest = back_up(settings, file, downloads, told)
    if as_json:
        print_json(_summary(manifest) | {"path": str(file)})
        return
    print(f"{file}: {_contents(manifest)} in {time.monotonic() - began:.1f} s")
    for sentence in _notes(manifest):
        print(sentence)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a new data folder. Then `runyard up` resumes the runs that were active."""
    from app.services.restore import restore as restore_backup

    folder = read_settings(data_dir=data_dir).data_dir.absolute()
    with _told() as told:
        manifest = restore_backup(file, folder, told)
    if as_json:
        print_json(_summary(manifest) | {"data_dir": str(folder)})
        return
    print(f"{folder}: {_contents(manifest)}, as of {_local(manifest.created_at)}")
    for sentence in _notes(manifest):
        print(sentence)


@contextmanager
def _told() -> Iterator[Told]:
    """Progress in a terminal; exit status 1 with the reason if there is no backup."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TransferSpeedColumn

    from app.services.backup import BackupError

    console = Console(stderr=True)
    try:
        with Progress(
            SpinnerColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
            disable=not sys.stderr.isatty(),
        ) as progress:
            task = progress.add_task("", total=None)
            yield lambda written: progress.update(task, completed=written)
    except BackupError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _contents(manifest: Manifest) -> str:
    runs = f"{manifest.runs:,} run{'' if manifest.runs == 1 else 's'}"
    return f"{runs}, {len(manifest.members):,} files, {manifest.bytes / 1e6:,.1f} MB"


def _notes(manifest: Manifest) -> list[str]:
    notes = list(manifest.left_out)
    if manifest.missing:
        more = f" and {len(manifest.missing) - 1:,} more" if manifest.missing[1:] else ""
        notes.append(f"{manifest.missing[0]}{more} did not exist any more")
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "version": manifest.version,
        "created": manifest.created_at,
        "runs": manifest.runs,
        "files": len(manifest.members),
        "bytes": manifest.bytes,
        "left_out": manifest.left_out,
        "missing": manifest.missing,
    }


def _local(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))

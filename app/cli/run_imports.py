"""`runyard import`: imports TensorBoard event files as runs, or follows them; a second import adds only what is new."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import Url, connected, warn
from app.cli.event_runs import EventRun, find_event_files, run_name
from app.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from runyard import Runyard

IDLE_MINUTES = 30.0


def import_(
    path: Annotated[
        Path,
        typer.Argument(help="Folder with TensorBoard event files; each subfolder that contains some becomes a run."),
    ],
    experiment: Annotated[str | None, typer.Option(help="Experiment name (default: the folder's name).")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with new points, files and folders, live, until Ctrl-C.")
    ] = False,
    idle: Annotated[
        float, typer.Option(min=0.05, help="With --follow: minutes without a change after which a run ends.")
    ] = IDLE_MINUTES,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Import runs from TensorBoard event files: scalars, images, histograms, texts and hyperparameters."""
    with connected(url) as yard:
        if path.is_file():
            raise ValueError(f"{path} is a file; pass its folder instead")
        if follow:
            if as_json:
                raise ValueError("--follow prints no JSON; leave out --json")
            from app.cli.import_following import Follower

            Follower(yard, path, experiment or path.resolve().name, 60 * idle).follow()
            return
        if not path.is_dir():
            raise ValueError(f"folder {path} does not exist")
        folders = find_event_files(path)
        if not folders:
            raise ValueError(f"no TensorBoard event files (file names containing 'tfevents') in {path}")
        made = []
        for folder, files in folders.items():
            run = EventRun(folder, run_name(path, folder), experiment or path.resolve().name)
            run.add_files(files)
            if result := _import(yard, run):
                made.append(result)
                if not as_json:
                    print(f"{run.name}  {run.sent}  {yard.url}{run.sent.url}")
        if as_json:
            print_json({"runs": made})


def _import(yard: Runyard, run: EventRun) -> dict[str, Any] | None:
    while run.advance(yard):
        pass
    run.end(yard)
    for sentence in (*run.warnings, *run.skipped()):
        warn(sentence)
    if not run.sent.id:
        warn(f"{run.name}: skipped because it has no scalars, images, histograms or texts")
        return None
    result = asdict(run.sent)
    return result | {"name": run.name, "added": result.pop("points")}

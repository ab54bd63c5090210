"""`runyard import`: imports TensorBoard event files as runs; a second import adds only new points."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import Url, connected, warn
from app.cli.output import AsJson, print_json
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.formats.tfevents import BrokenFile, EventMetadata, read_scalars

if TYPE_CHECKING:
    from runyard import Runyard

PATTERN = "*tfevents*"
BATCH_POINTS = 20_000
LATEST = 4_102_444_800.0
"""The latest time that the server accepts, in seconds since 1970."""


@dataclass
class EventFolder:
    """A folder of event files, imported as one run; ``left_out``: number of invalid points.

    ``broken``: a sentence about each file that is not an event file.
    """

    folder: Path
    name: str
    key: str = ""
    metadata: EventMetadata = field(default_factory=EventMetadata)
    curves: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    began: float = math.inf
    ended: float = 0.0
    left_out: int = 0
    broken: list[str] = field(default_factory=list)


def import_(
    path: Annotated[
        Path,
        typer.Argument(help="Folder with TensorBoard event files; each subfolder that contains some becomes a run."),
    ],
    experiment: Annotated[str | None, typer.Option(help="Experiment name (default: the folder's name).")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Import runs from TensorBoard event files: scalars, times and hyperparameters."""
    with connected(url) as yard:
        folders = find_folders(path)
        if not folders:
            raise ValueError(f"no TensorBoard event files (file names containing 'tfevents') in {path}")
        made = []
        for folder in folders:
            source = read_folder(folder, _name(path, folder))
            for broken in source.broken:
                warn(broken)
            if source.metadata.damaged:
                warn(f"{source.name}: skipped damaged records at {_places(source.metadata.damaged)}")
            if source.left_out:
                warn(f"{source.name}: skipped {_points(source.left_out)} with an invalid step, tag or time")
            if not source.curves:
                warn(f"{source.name}: skipped because it has no scalars")
                continue
            made.append(_send(yard, source, experiment or path.resolve().name))
            if not as_json:
                new = _points(made[-1]["added"]) if made[-1]["added"] else "no new points"
                print(f"{source.name}  {new}  {yard.url}{made[-1]['url']}")
        if as_json:
            print_json({"runs": made})


def _points(count: int) -> str:
    return f"{count:,} point{'' if count == 1 else 's'}"


def _places(count: int) -> str:
    return f"{count:,} place{'' if count == 1 else 's'}"


def find_folders(path: Path) -> list[Path]:
    """Find all folders with event files, including ``path`` itself. Raises ValueError if there is no such folder."""
    if path.is_file():
        raise ValueError(f"{path} is a file; pass its folder instead")
    if not path.is_dir():
        raise ValueError(f"folder {path} does not exist")
    return sorted({file.parent for file in path.rglob(PATTERN) if file.is_file()})


def _name(path: Path, folder: Path) -> str:
    inside = folder.relative_to(path)
    return str(inside) if inside.parts else path.resolve().name


def read_folder(folder: Path, name: str) -> EventFolder:
    """Read the run of a folder, its files in the order of their names, which start with a timestamp."""
    source = EventFolder(folder, name)
    for file in sorted(file for file in folder.glob(PATTERN) if file.is_file()):
        with file.open("rb") as opened:
            if not source.key:
                # The first record has the file's creation time; a name alone may not be unique.
                head = file.name.encode() + opened.read(64)
                source.key = hashlib.sha256(head).hexdigest()
                opened.seek(0)
            try:
                _take(source, opened)
            except BrokenFile as error:
                source.broken.append(f"{file}: {error}")
    return source


def _take(source: EventFolder, opened: Any) -> None:
    for scalar in read_scalars(opened, source.metadata):
        valid = SMALLEST_STEP <= scalar.step <= LARGEST_STEP and 0 < len(scalar.tag) <= 250
        if not valid or not 0 <= scalar.time <= LATEST:
            source.left_out += 1
            continue
        source.curves.setdefault(scalar.tag, []).append((scalar.step, scalar.value, scalar.time))
        source.began = min(source.began, scalar.time)
        source.ended = max(source.ended, scalar.time)


def _send(yard: Runyard, source: EventFolder, experiment: str) -> dict[str, Any]:
    """Send a run in chunks that fit into a request."""
    head = {
        "key": source.key,
        "experiment": experiment[:200],
        "name": source.name[:200],
        "started": source.began,
        "ended": source.ended,
        "outcome": source.metadata.outcome,
        "parameters": source.metadata.parameters,
        # Left out if they are 0, since an earlier server does not know them.
        **({"damaged": source.metadata.damaged} if source.metadata.damaged else {}),
        **({"left_out": source.left_out} if source.left_out else {}),
    }
    added = 0
    answer: dict[str, Any] = {}
    for curves in _chunks(source):
        answer = yard.import_run(**head, curves=curves)
        added += answer["added"]
    return answer | {"name": source.name, "added": added}


def _chunks(source: EventFolder) -> Iterator[dict[str, Any]]:
    chunk: dict[str, Any] = {}
    room = BATCH_POINTS
    for tag, points in source.curves.items():
        for start in range(0, len(points), BATCH_POINTS):
            part = points[start : start + BATCH_POINTS]
            if len(part) > room:
                yield chunk
                chunk, room = {}, BATCH_POINTS
            steps, values, times = zip(*part, strict=True)
            finite = [value if math.isfinite(value) else str(value) for value in values]
            chunk[tag] = {"offset": start, "step": list(steps), "value": finite, "time": list(times)}
            room -= len(part)
            if tag in chunk and start + BATCH_POINTS < len(points):
                yield chunk
                chunk, room = {}, BATCH_POINTS
    if chunk:
        yield chunk

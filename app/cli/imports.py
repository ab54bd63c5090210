"""`runyard import`: TensorBoard's event folders become runs, a second time only what is new in them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import Url, tell, told
from app.cli.output import AsJson, print_json
from app.formats.tfevents import BrokenFile, EventMetadata, read_scalars

if TYPE_CHECKING:
    from runyard import Runyard

PATTERN = "*tfevents*"
AT_ONCE = 20_000
LARGEST_STEP = 2**32 - 1


@dataclass
class Recorded:
    """One folder of event files, which is one run; ``left_out`` counts points whose steps cannot be kept."""

    folder: Path
    name: str
    key: str = ""
    told: EventMetadata = field(default_factory=EventMetadata)
    curves: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    began: float = math.inf
    ended: float = 0.0
    left_out: int = 0
    broken: str = ""


def import_(
    path: Annotated[Path, typer.Argument(help="A folder with TensorBoard event files; each folder in it is a run.")],
    experiment: Annotated[
        str | None, typer.Option(help="What the runs stand under; left out: the folder's name.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Bring in runs that were recorded as TensorBoard event files: their scalars, times and hyperparameters."""
    with told(url) as yard:
        folders = find_folders(path)
        if not folders:
            raise ValueError(f"no TensorBoard event files in {path}: their names have 'tfevents' in them")
        made = []
        for folder in folders:
            recorded = read_folder(folder, _name(path, folder))
            if recorded.broken:
                tell(recorded.broken)
            if recorded.left_out:
                tell(f"{recorded.name}: {recorded.left_out:,} points have steps that cannot be kept, and are left out")
            if not recorded.curves:
                tell(f"{recorded.name}: no scalars")
                continue
            made.append(_send(yard, recorded, experiment or path.resolve().name))
            if not as_json:
                new = f"{made[-1]['added']:,} points" if made[-1]["added"] else "nothing new"
                print(f"{recorded.name}  {new}  {yard.url}{made[-1]['url']}")
        if as_json:
            print_json({"runs": made})


def find_folders(path: Path) -> list[Path]:
    """The folders with event files, ``path`` itself among them. Raises ValueError where there is nothing."""
    if path.is_file():
        raise ValueError(f"{path} is a file; name the folder that it is in")
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    return sorted({file.parent for file in path.rglob(PATTERN) if file.is_file()})


def _name(path: Path, folder: Path) -> str:
    inside = folder.relative_to(path)
    return str(inside) if inside.parts else path.resolve().name


def read_folder(folder: Path, name: str) -> Recorded:
    """The run that a folder holds, its files in the order of their names, which begin with their times."""
    recorded = Recorded(folder, name)
    for file in sorted(file for file in folder.glob(PATTERN) if file.is_file()):
        with file.open("rb") as opened:
            if not recorded.key:
                # The first record says when and where the file was begun; a name alone can be anybody's.
                head = file.name.encode() + opened.read(64)
                recorded.key = hashlib.sha256(head).hexdigest()
                opened.seek(0)
            try:
                _take(recorded, opened)
            except BrokenFile as error:
                recorded.broken = f"{file}: {error}; what stands before it is taken"
    return recorded


def _take(recorded: Recorded, opened: Any) -> None:
    for scalar in read_scalars(opened, recorded.told):
        if not 0 <= scalar.step <= LARGEST_STEP or not 0 < len(scalar.tag) <= 250 or not math.isfinite(scalar.time):
            recorded.left_out += 1
            continue
        recorded.curves.setdefault(scalar.tag, []).append((scalar.step, scalar.value, scalar.time))
        recorded.began = min(recorded.began, scalar.time)
        recorded.ended = max(recorded.ended, scalar.time)


def _send(yard: Runyard, recorded: Recorded, experiment: str) -> dict[str, Any]:
    """Send a run in pieces that a request can hold."""
    head = {
        "key": recorded.key,
        "experiment": experiment[:200],
        "name": recorded.name[:200],
        "started": recorded.began,
        "ended": recorded.ended,
        "outcome": recorded.told.outcome,
        "parameters": recorded.told.parameters,
    }
    added = 0
    answer: dict[str, Any] = {}
    for curves in _pieces(recorded):
        answer = yard.import_run(**head, curves=curves)
        added += answer["added"]
    return answer | {"name": recorded.name, "added": added}


def _pieces(recorded: Recorded) -> Iterator[dict[str, Any]]:
    piece: dict[str, Any] = {}
    room = AT_ONCE
    for tag, points in recorded.curves.items():
        for start in range(0, len(points), AT_ONCE):
            part = points[start : start + AT_ONCE]
            if len(part) > room:
                yield piece
                piece, room = {}, AT_ONCE
            steps, values, times = zip(*part, strict=True)
            said = [value if math.isfinite(value) else str(value) for value in values]
            piece[tag] = {"offset": start, "step": list(steps), "value": said, "time": list(times)}
            room -= len(part)
            if tag in piece and start + AT_ONCE < len(points):
                yield piece
                piece, room = {}, AT_ONCE
    if piece:
        yield piece

"""The files of a run as a tree, in which the images of one key that were logged by step are one entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode

from app.contract.run_files import SteppedImage, stepped_image
from app.services.run_files import StoredFile

MAX_ENTRIES: Final = 300
"""Entries of a folder that are listed at first, and at most."""
MAX_ALL_ENTRIES: Final = 5000


def file_url(run_id: str, file: StoredFile, download: bool = False) -> str:
    """The address of a file's content. With its version, a browser may keep it: another content has another one."""
    query = {"v": file.version} if file.version else {}
    query |= {"download": "true"} if download else {}
    return f"/api/v1/runs/{run_id}/files/{quote(file.path)}" + (f"?{urlencode(query)}" if query else "")


@dataclass(frozen=True)
class Frame:
    """One image of a strip. ``small``: the copy that the client made smaller; the image itself if there is none."""

    step: int
    timestamp: int
    file: StoredFile
    small: StoredFile


@dataclass(frozen=True)
class Strip:
    """The images that were logged by step under one key, in the order of their steps."""

    key: str
    frames: list[Frame]


@dataclass
class Folder:
    """A folder of the tree. ``path``: without a slash at the end; of the root, blank."""

    name: str
    path: str
    folders: dict[str, Folder] = field(default_factory=dict)
    files: list[StoredFile] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    count: int = 0
    size: int = 0


def strips_of(files: Sequence[StoredFile]) -> dict[str, Strip]:
    """The strips of a run by key, in their order."""
    full: dict[str, dict[tuple[int, int, str], StoredFile]] = {}
    small: dict[tuple[str, int, int, str], StoredFile] = {}
    for file in files:
        found = stepped_image(file.path) if file.source == "script" else None
        if found is None:
            continue
        identity = _identity(file, found)
        if found.compressed:
            small[(found.key, found.step, found.timestamp, identity)] = file
        else:
            full.setdefault(found.key, {})[(found.step, found.timestamp, identity)] = file
    return {
        key: Strip(key, [Frame(at[0], at[1], file, small.get((key, *at), file)) for at, file in sorted(frames.items())])
        for key, frames in sorted(full.items())
    }


def _identity(file: StoredFile, found: SteppedImage) -> str:
    """What the names of an image and of its smaller copy have in common at their ends."""
    stem = file.path.rpartition(".")[0]
    return stem.removesuffix("compressed").rstrip("+%") if found.compressed else stem


def tree_of(files: Sequence[StoredFile]) -> Folder:
    """The root of a run's files; images of strips are among the files of no folder."""
    root = Folder("", "")
    strips = strips_of(files)
    for file in files:
        stepped = file.source == "script" and stepped_image(file.path) is not None
        folder = root
        folder.count, folder.size = folder.count + 1, folder.size + (file.size or 0)
        steps = file.path.split("/")[:-1]
        for depth, name in enumerate(steps, 1):
            folder = folder.folders.setdefault(name, Folder(name, "/".join(steps[:depth])))
            folder.count, folder.size = folder.count + 1, folder.size + (file.size or 0)
        if not stepped:
            folder.files.append(file)
    if strips:
        root.folders["images"].strips = list(strips.values())
    return root

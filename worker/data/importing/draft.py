"""What was read from a source, in files that outlive the process: decoded images, and what is known of each.

Of a whole draft, ``draft.json`` says what is in it; it is written last. ``images.u8``: uint8 [N, C, side, side];
``thumbnails.u8``: uint8 [N, 3, 8, 8]; ``found.npy``: FOUND [N]; ``labels.npy``, ``parts.npy``: class and split of each
in the source; ``paths.txt``: paths, each ended by a zero byte. Once shown, ``train.npy``, ``validation.npy`` and
``test.npy`` have the rows of each split, int64, in the order of the dataset's images.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from worker.data.importing.import_folder import write_atomically
from worker.data.importing.reader import FOUND, IMAGES, THUMBNAILS, ReaderSettings
from worker.data.importing.scaling import THUMBNAIL
from worker.data.importing.skipped import Skipped

FORMAT: Final = 1
DESCRIPTION: Final = "draft.json"
PATHS: Final = "paths.txt"


@dataclass(eq=False)
class Draft:
    """A whole draft in memory, except for its images. ``found``: FOUND [N], ``labels``: places in ``classes``.

    ``suited``: the side that suits the images, whatever was chosen.
    """

    folder: Path
    side: int
    suited: int
    fit: str
    channels: int
    paths: list[str]
    found: npt.NDArray[np.void]
    labels: npt.NDArray[np.int32]
    parts: npt.NDArray[np.int8]
    classes: list[str]
    skipped: Skipped
    layout: str
    notes: list[str]
    source_sha256: str

    def images(self) -> npt.NDArray[np.uint8]:
        """uint8 [N, C, side, side], mapped from the file; rows that were skipped are black."""
        shape = (len(self.paths), self.channels, self.side, self.side)
        return np.memmap(self.folder / IMAGES, np.uint8, "r", shape=shape)

    def thumbnails(self) -> npt.NDArray[np.uint8]:
        """uint8 [N, 3 × 8 × 8], mapped from the file."""
        return np.memmap(self.folder / THUMBNAILS, np.uint8, "r", shape=(len(self.paths), 3 * THUMBNAIL**2))

    def usable(self) -> npt.NDArray[np.bool_]:
        """Which rows have an image."""
        return np.asarray(self.found["skipped"] == 0)

    def save(self) -> None:
        """Write everything except for the images. Raises OSError."""
        for name, values in (("found", self.found), ("labels", self.labels), ("parts", self.parts)):
            with (self.folder / f"{name}.npy").open("wb") as file:
                np.save(file, values)
        with (self.folder / PATHS).open("wb") as file:
            file.writelines(f"{path}\0".encode() for path in self.paths)
        description = {
            "format": FORMAT,
            "images": len(self.paths),
            "side": self.side,
            "suited": self.suited,
            "fit": self.fit,
            "channels": self.channels,
            "classes": self.classes,
            "skipped": self.skipped.dump(),
            "layout": self.layout,
            "notes": self.notes,
            "source_sha256": self.source_sha256,
        }
        write_atomically(self.folder / DESCRIPTION, json.dumps(description).encode())

    def save_order(self, rows: dict[str, npt.NDArray[np.int64]]) -> None:
        """Write the rows of each split. Raises OSError."""
        for part, values in rows.items():
            unfinished = self.folder / f".{part}.tmp"
            with unfinished.open("wb") as file:
                np.save(file, values)
            os.replace(unfinished, self.folder / f"{part}.npy")


def open_files(settings: ReaderSettings, images: int) -> None:
    """Create the empty files into which readers write. Raises OSError."""
    settings.draft.mkdir(parents=True)
    for name, size in ((IMAGES, settings.image_bytes), (THUMBNAILS, 3 * THUMBNAIL**2)):
        with (settings.draft / name).open("wb") as file:
            file.truncate(images * size)


def load(folder: Path) -> Draft | None:
    """The draft in a folder; None if there is none, or not a whole one."""
    try:
        known: dict[str, Any] = json.loads((folder / DESCRIPTION).read_bytes())
        if known["format"] != FORMAT:
            return None
        found, labels, parts = (np.load(folder / f"{name}.npy") for name in ("found", "labels", "parts"))
        paths = (folder / PATHS).read_bytes().decode().split("\0")[:-1]
    except (OSError, ValueError, KeyError):
        return None
    if found.dtype != FOUND or not len(found) == len(labels) == len(parts) == len(paths) == known["images"]:
        return None
    return Draft(
        folder,
        known["side"],
        known["suited"],
        known["fit"],
        known["channels"],
        paths,
        found,
        labels,
        parts,
        known["classes"],
        Skipped.load(known["skipped"]),
        known["layout"],
        known["notes"],
        known["source_sha256"],
    )

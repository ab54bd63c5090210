"""What a source contains: its images in their final order, with the class and split that it gives them."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from app.contract.dataset_import import SIDES
from worker.data.importing.files import Files, Places, integers
from worker.data.importing.names import natural_key
from worker.data.importing.tasks import Task

SAMPLE: Final = 2_000
"""Most images by whose sizes the side is chosen."""
_DEFAULT_SIDE: Final = 64
"""Where the size of no image is known."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """Images of a source, sorted by path.

    ``layout``: as in `Report`. ``labels``: places in ``classes``, int32 [N]. ``parts``: split that the source gives,
    int8 [N]. ``channels``: 1 if all images are known to be gray. ``typical``: short side of the median image,
    in pixels.
    """

    layout: str
    paths: list[str]
    labels: npt.NDArray[np.int32]
    parts: npt.NDArray[np.int8]
    classes: list[str]
    channels: int
    notes: list[str]
    typical: Callable[[], int | None]
    tasks: Callable[[], Iterator[Task]]

    def side(self) -> int:
        """The side that suits the images: the largest that enlarges few of them much."""
        typical = self.typical()
        if typical is None:
            return _DEFAULT_SIDE
        if typical in SIDES:
            return typical
        return max((side for side in SIDES if side <= typical * 1.15), default=SIDES[0])


class CatalogMaker:
    """Collects images of `Files` with their class and split."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._places, self._labels, self._parts = array("q"), array("q"), array("q")
        self._classes: dict[str, int] = {}

    def add(self, place: int, label: str, part: int) -> None:
        """An image by the place of its file. label: name of its class."""
        self._places.append(place)
        self._labels.append(self._classes.setdefault(class_name(label), len(self._classes)))
        self._parts.append(part)

    def __len__(self) -> int:
        return len(self._places)

    def catalog(self, layout: str, notes: list[str]) -> Catalog:
        """All that was added."""
        files = self._files
        classes, labels = sorted_classes(list(self._classes), integers(self._labels))
        places, parts = integers(self._places), integers(self._parts)
        names = files.names
        # Sorting is stable: by path, and equal paths by split and class.
        first: list[int] = np.lexsort((labels, parts)).tolist()
        first.sort(key=lambda each: names[places[each]])
        order = np.array(first, np.int64)
        places = places[order]
        return Catalog(
            layout,
            [names[place] for place in places],
            labels[order].astype(np.int32),
            parts[order].astype(np.int8),
            classes,
            3,
            notes,
            lambda: _typical(files, places),
            lambda: files.tasks(places),
        )


def class_name(label: str) -> str:
    """The same name for texts that look the same."""
    return unicodedata.normalize("NFC", label.strip())


def sorted_classes(classes: list[str], labels: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The classes in natural order, and the labels as places in it."""
    order = sorted(range(len(classes)), key=lambda each: natural_key(classes[each]))
    place = np.zeros(len(classes), np.int64)
    place[order] = np.arange(len(classes))
    return [classes[each] for each in order], place[labels]


def _typical(files: Files, places: Places) -> int | None:
    sample = np.unique(places).tolist()
    if len(sample) > SAMPLE:
        names = files.names
        sample.sort(key=lambda each: blake2b(names[each].encode(), digest_size=8).digest())
        sample = sample[:SAMPLE]
    sides = [min(size) for size in files.image_sizes(sample) if size is not None]
    return int(np.median(sides)) if sides else None

"""``python -m worker.data.sample_sheet FOLDER``: draws images of datasets and imports on request, until EOF.

Questions and answers are JSON objects, one per line; FOLDER contains the datasets. Questions:

- {"dataset": KEY, "label", "count"}: a row of training images of a class
- {"dataset": KEY, "part", "index"}: one image
- {"dataset": KEY, "part", "indices"}: several images, `COLUMNS` in a row, each at most `SHEET_SIDE` pixels wide
- {"import": ID, "class", "count", "side", "color", "fit"}: a row of images as these choices would make them
- {"import": ID, "part", "index"}: one image as it was read

Answers are {"png": "base64"}, {"reason": "…"} if there is nothing to draw yet, {"missing": "…"} if there is no such
image, or {"fault": "traceback"}.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.contract.builtin_datasets import prepared_file
from app.contract.dataset_import import REQUEST, ImportRequest
from app.contract.datasets import DATASETS
from app.contract.own_datasets import TARGET, TENSORS, version_folder
from worker.data.answering import answer_lines
from worker.data.importing.draft import Draft, load
from worker.data.importing.errors import Unusable
from worker.data.importing.picture import decode
from worker.data.importing.skipped import Skipped
from worker.data.importing.sources import open_source
from worker.data.importing.tasks import Encoded, Task

GAP = 2
"""Transparent pixels between images."""
COLUMNS = 10
SHEET_SIDE = 96
"""Pixels of an image in a sheet of many: they are shown small, and a hundred photographs are quickly sent."""
LARGEST_SEQUENTIAL = 300 * 2**20
"""Bytes of a tar file that is read as a whole to find its samples; of a larger one, what was read is scaled again."""

Images = npt.NDArray[np.uint8]


class NothingToDraw(Exception):
    """The message says why, in one sentence."""


class Missing(NothingToDraw):
    """There is no such image, nor will there be."""


def row_png(images: Sequence[Images]) -> bytes:
    """Images uint8 [C, H, W] in a row, on a transparent picture."""
    height, width = images[0].shape[1:]
    sheet = np.zeros((height, len(images) * (width + GAP) - GAP, 4), np.uint8)
    for place, image in enumerate(images):
        left = place * (width + GAP)
        sheet[:, left : left + width, :3] = np.broadcast_to(image, (3, height, width)).transpose(1, 2, 0)
        sheet[:, left : left + width, 3] = 255
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()


def sheet_png(images: Sequence[Images]) -> bytes:
    """Images uint8 [C, H, W], `COLUMNS` in a row without a gap, the last row filled up with black."""
    shown = [_shrunk(image) for image in images]
    height, width, colors = shown[0].shape
    rows = -(-len(shown) // COLUMNS)
    sheet = np.zeros((rows * height, COLUMNS * width, colors), np.uint8)
    for place, image in enumerate(shown):
        top, left = place // COLUMNS * height, place % COLUMNS * width
        sheet[top : top + height, left : left + width] = image
    file = io.BytesIO()
    Image.fromarray(sheet[:, :, 0] if colors == 1 else sheet).save(file, "PNG", compress_level=3)
    return file.getvalue()


def _shrunk(image: Images) -> Images:
    """An image [C, H, W] as [H, W, C], with at most `SHEET_SIDE` pixels in a row."""
    pixels = image.transpose(1, 2, 0)
    if pixels.shape[1] <= SHEET_SIDE:
        return pixels
    small = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    small = small.resize((SHEET_SIDE, max(1, SHEET_SIDE * pixels.shape[0] // pixels.shape[1])), Image.Resampling.BOX)
    return np.asarray(small).reshape(small.height, small.width, -1)


def tensor(file: Path, name: str) -> npt.NDArray[Any]:
    """A tensor of a safetensors file, mapped from it. Raises OSError, KeyError."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))[name]
    kind = {"U8": np.uint8, "I64": np.int64}[header["dtype"]]
    return np.memmap(file, kind, "r", 8 + length + header["data_offsets"][0], tuple(header["shape"]))


class Sheets:
    """Answers questions; keeps where the samples of the last import are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._samples: Samples | None = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question."""
        try:
            draw = sheet_png if "indices" in question else row_png
            return {"png": base64.b64encode(draw(self._images(question))).decode()}
        except Missing as problem:
            return {"missing": str(problem)}
        except NothingToDraw as problem:
            return {"reason": str(problem)}
        except FileNotFoundError:
            return {"missing": "these images no longer exist"}

    def _images(self, question: dict[str, Any]) -> list[Images]:
        if "dataset" in question:
            return self._of_dataset(question)
        folder = self._folder / "imports" / question["import"]
        if "part" in question:
            draft = _draft(folder)
            rows = np.load(draft.folder / f"{question['part']}.npy", mmap_mode="r")
            if question["index"] >= len(rows):
                raise Missing(_beyond(question["part"], len(rows)))
            return [draft.images()[rows[question["index"]]]]
        if self._samples is None or not self._samples.are_of(folder, question["count"]):
            self._samples = Samples(folder, question["count"])
        return self._samples.images(question["class"], question["side"], question["color"], question["fit"])

    def _of_dataset(self, question: dict[str, Any]) -> list[Images]:
        dataset = DATASETS.get(question["dataset"])
        if dataset is None:
            raise Missing("these images no longer exist")
        if dataset.version:
            file = version_folder(self._folder, dataset.name, dataset.version) / TENSORS
            target = TARGET
        else:
            file, target = prepared_file(self._folder, dataset.name), dataset.targets[0].name
            if dataset.offline and not file.exists():
                # It comes with a library; this takes a second.
                from worker.data.datasets import load as prepare

                prepare(dataset.name, [target], self._folder, lambda sentence: None)
            if not file.exists():
                raise NothingToDraw(f"images are shown once a run has prepared {dataset.name}")
        part = question.get("part", "train")
        images = tensor(file, f"{part}.images")
        if "index" in question:
            places = [question["index"]]
        elif "indices" in question:
            places = question["indices"]
        else:
            places = np.flatnonzero(tensor(file, f"{part}.{target}") == question["label"])[: question["count"]].tolist()
        if not places or max(places) >= len(images):
            raise Missing("this class has no training images" if "label" in question else _beyond(part, len(images)))
        return [images[place] for place in places]


def _beyond(part: str, count: int) -> str:
    images = f"{count:,} {part} image{'s' if count != 1 else ''}"
    return f"there are {images}, the last one is {count - 1:,}" if count else f"there are no {part} images"


def _draft(folder: Path) -> Draft:
    draft = load(folder / "draft")
    if draft is None:
        raise NothingToDraw("the images are being read")
    return draft


class Samples:
    """Some images of each class of an import, read again from its source to show them with other choices."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._draft = _draft(folder)
        self._stamp = _stamp(folder)
        usable = self._draft.usable()
        self._rows = {
            name: np.flatnonzero(usable & (self._draft.labels == label))[:count].tolist()
            for label, name in enumerate(self._draft.classes)
        }
        self._tasks = self._found({row for rows in self._rows.values() for row in rows})

    def are_of(self, folder: Path, count: int) -> bool:
        """Whether they are those of this import, and of its newest draft."""
        return (self._folder, self._count, self._stamp) == (folder, count, _stamp(folder))

    def images(self, name: str, side: int, color: str, fit: str) -> list[Images]:
        """Images of a class as these choices make them, uint8 [C, side, side]. Raises NothingToDraw."""
        rows = self._rows.get(name, [])
        if not rows:
            raise NothingToDraw(f"{name} has no images")
        return [self._image(row, side, color, fit) for row in rows]

    def _image(self, row: int, side: int, color: str, fit: str) -> Images:
        task = self._tasks.get(row)
        if task is None:
            read = self._draft.images()[row]
            encoded: Encoded | Unusable = np.ascontiguousarray(read[0] if len(read) == 1 else read.transpose(1, 2, 0))
        else:
            ((_, encoded),) = task.images()
        if isinstance(encoded, Unusable):
            raise NothingToDraw(str(encoded))
        pixels = decode(encoded, side, fit, 3).pixels
        if color == "gray":
            gray = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L")
            return np.asarray(gray)[None]
        return pixels

    def _found(self, wanted: set[int]) -> dict[int, Task]:
        """A task for each wanted row."""
        request = ImportRequest.model_validate_json((self._folder / REQUEST).read_bytes())
        source = Path(request.source)
        sequential = source.is_file() and (".tar" in source.name.lower() or source.suffix.lower() in (".tgz", ".txz"))
        if sequential and source.stat().st_size > LARGEST_SEQUENTIAL:
            return {}
        catalog = open_source(source, request.original, Skipped(), lambda: None)
        found: dict[int, Task] = {}
        for task in catalog.tasks():
            if not wanted.isdisjoint(task.rows):
                found |= {each.rows[0]: each for each in task.single() if each.rows[0] in wanted}
        return found


def _stamp(folder: Path) -> int:
    return (folder / "draft" / "draft.json").stat().st_mtime_ns


def main(folder: Path) -> None:
    """Answer questions until the input ends."""
    DATASETS.open(folder)
    answer_lines(Sheets(folder).answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

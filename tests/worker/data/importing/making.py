"""Makes sources of images, and imports them."""

from __future__ import annotations

import csv
import io
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.numpy import load_file

from app.contract.dataset_import import Choices, ChoicesMade, ImportRequest, ImportState, Part, Report, SkippedFile
from app.contract.own_datasets import OwnDataset, OwnDatasets
from worker.data.importing.job import run_import

Pixels = npt.NDArray[np.uint8]


def pixels(seed: int, height: int = 32, width: int = 32) -> Pixels:
    """A noisy image [H, W, 3], different for each seed."""
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def encoded(image: Pixels | Image.Image, kind: str = "png", **options: Any) -> bytes:
    """The content of an image file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


@cache
def png(seed: int) -> bytes:
    """A PNG file of noise."""
    return encoded(pixels(seed))


def png_file(header: bytes, data: bytes) -> bytes:
    """A PNG file of its header and its compressed rows."""
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in chunks
    )


def bomb() -> bytes:
    """A small PNG file of 30,000 × 30,000 pixels of one color."""
    packed = zlib.compressobj(1)
    rows = bytes((1 + 30_000 // 8) * 100)
    data = b"".join(packed.compress(rows) for _ in range(300)) + packed.flush()
    return png_file(struct.pack(">2I5B", 30_000, 30_000, 1, 0, 0, 0, 0), data)


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, by their paths in it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def two_classes(images: int = 10, first: int = 0, prefix: str = "") -> dict[str, bytes]:
    """Files of cats and dogs, all different."""
    return {
        f"{prefix}{name}/{number}.png": png(first + 2 * number + place)
        for place, name in enumerate(("cats", "dogs"))
        for number in range(images)
    }


def packed(path: Path, content: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip file."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def taped(path: Path, content: Mapping[str, bytes], mode: str = "w") -> Path:
    """A tar file."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@dataclass
class Imports:
    """Imports into a folder of datasets."""

    datasets: Path
    id: str = "one"
    name: str = "pets"

    @property
    def folder(self) -> Path:
        """That of the import."""
        return self.datasets / "imports" / self.id

    def request(self, source: Path, *, keep: bool = True, **choices: Any) -> Path:
        """Write a request; returns its folder."""
        self.folder.mkdir(parents=True)
        request = ImportRequest(
            id=self.id,
            name=self.name,
            source=str(source),
            original=source.name,
            keep=keep,
            choices=Choices(**choices),
            created_at=time.time(),
        )
        (self.folder / "request.json").write_text(request.model_dump_json())
        return self.folder

    def choose(self, number: int, *, keep: bool = False, **choices: Any) -> None:
        """Write choices."""
        made = ChoicesMade(number=number, choices=Choices(**choices), keep=keep)
        (self.folder / "choices.json").write_text(made.model_dump_json())

    def run(self) -> ImportState:
        """Go on with the import."""
        return run_import(self.datasets, self.id, processes=1)

    def of(self, source: Path, **choices: Any) -> Imported:
        """Import a source, which must succeed."""
        self.request(source, **choices)
        state = self.run()
        assert state.status == "ready", state.reason
        return self.made(state.version)

    def fails(self, source: Path, **choices: Any) -> str:
        """Import a source, which must fail; returns the reason."""
        self.request(source, **choices)
        state = self.run()
        assert state.status == "failed"
        assert not (self.folder / "draft").exists()
        return state.reason

    def made(self, version: str = "") -> Imported:
        """A version that was made, by default the one in use."""
        described = OwnDatasets(self.datasets).get(self.name, version)
        assert described is not None
        return Imported(self.datasets / "own" / self.name / described.version, described)

    def report(self) -> Report:
        """The last report."""
        return Report.model_validate_json((self.folder / "report.json").read_bytes())


class Imported:
    """A dataset that was imported."""

    def __init__(self, folder: Path, described: OwnDataset) -> None:
        self.folder = folder
        self.described = described
        self.tensors: dict[str, npt.NDArray[Any]] = load_file(folder / "images.safetensors")
        with (folder / "items.csv").open(encoding="utf-8", newline="") as file:
            self.items = list(csv.DictReader(file))

    @property
    def report(self) -> Report:
        """On its images."""
        return self.described.report

    @property
    def paths(self) -> set[str]:
        """Of all images."""
        return {item["path"] for item in self.items}

    def image(self, path: str) -> Pixels:
        """The image [C, H, W] with a path."""
        part, index, _ = self._found(path)
        image: Pixels = self.tensors[f"{part}.images"][index]
        return image

    def label(self, path: str) -> str:
        """Name of an image's class, by its number in the tensors."""
        part, index, label = self._found(path)
        assert self.described.classes[self.tensors[f"{part}.class"][index]] == label
        return label

    def part(self, path: str) -> str:
        """The split that an image is in."""
        return self._found(path)[0]

    def paths_in(self, part: Part) -> list[str]:
        """Of a split's images, in their order."""
        return [item["path"] for item in self.items if item["split"] == part]

    def skipped(self) -> dict[str, str]:
        """Kind of each skipped file."""
        return {each.path: each.kind for each in self.report.skipped}

    def skip(self, path: str) -> SkippedFile:
        """A skipped file."""
        return next(each for each in self.report.skipped if each.path == path)

    def _found(self, path: str) -> tuple[str, int, str]:
        [item] = [item for item in self.items if item["path"] == path]
        return item["split"], int(item["index"]), item["label"]

"""The importer of images: a zip of 60,000 JPEGs, photos of 12 megapixels, and its memory by number of files."""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from app.contract.dataset_import import REQUEST, STATE, Choices, ImportRequest, ImportState
from app.contract.settings import Settings
from bench.interleave import REPEATS, interleaved
from bench.real_data import CIFAR10_PICTURES
from bench.report import Row, ratios, row, save
from worker.data.importing.picture import decode

ZIP_REPEATS = 3
PHOTOS = 20
PHOTO = (4000, 3000)
QUALITIES = (85, 60)
"""What Pillow saves the photos with: detail as in most cameras' files, and as in those that messengers send on."""
SIDE = 224
COUNTS = (50_000, 100_000, 200_000)
MOST_FILES = 2_000_000
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Imported:
    """What one import took; ``megabytes``: the most memory of its processes that is not a mapped file."""

    wall: float
    cpu: float
    megabytes: float


def main() -> None:
    """Measure all three, print and save them."""
    with tempfile.TemporaryDirectory() as folder:
        photos = [each for quality in QUALITIES for each in _photos(quality)]
        rows = [*_zip(Path(folder)), *photos, *_memory(Path(folder))]
    save("importing", rows, photos=PHOTOS, photo_pixels=PHOTO, side=SIDE)


# Whole imports --------------------------------------------------------------------------------------------------------


def _zip(folder: Path) -> list[Row]:
    archive, title = Settings().datasets / CIFAR10_PICTURES, "CIFAR-10"
    if not archive.exists():
        archive, title = folder / "noise.zip", "noise"
        _write_zip(archive, 60_000, 32, "JPEG")
    runs = [_import(folder / f"zip-{turn}", archive) for turn in range(ZIP_REPEATS)]
    name = f"zip of 60,000 JPEGs of 32×32 ({title})"
    return [
        row(f"{name}: request to ready, wall s", [each.wall for each in runs], "<= 40"),
        row(f"{name}: CPU s", [each.cpu for each in runs]),
        row(f"{name}: memory of all processes, MB", [each.megabytes for each in runs], "<= 1000", "max"),
    ]


def _memory(folder: Path) -> list[Row]:
    """Memory by the number of files, and what the most files that are allowed would take at this rate."""
    peaks = []
    for count in COUNTS:
        archive = folder / f"{count}.zip"
        _write_zip(archive, count, 8, "PNG")
        peaks.append(_import(folder / f"memory-{count}", archive).megabytes)
        archive.unlink()
    slope, base = np.polyfit(COUNTS, peaks, 1)
    rows = [row(f"{count:,} images: memory, MB", [peak]) for count, peak in zip(COUNTS, peaks, strict=True)]
    most = f"{MOST_FILES:,} images, the most that are allowed: memory at this rate, MB"
    return [*rows, row(most, [base + slope * MOST_FILES], "<= 1000")]


def _import(datasets: Path, source: Path) -> Imported:
    """Import a file and keep the dataset, in a process of its own as a worker starts it."""
    folder = datasets / "imports" / "one"
    folder.mkdir(parents=True)
    choices = Choices(side=28) if source.name.startswith(tuple("0123456789")) else Choices()
    request = ImportRequest(
        id="one",
        name="bench",
        source=str(source),
        original=source.name,
        keep=True,
        choices=choices,
        created_at=time.time(),
    )
    (folder / REQUEST).write_text(request.model_dump_json())
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "worker.data.importing", str(datasets), "one"])
    peak = _Peak(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    state = ImportState.model_validate_json((folder / STATE).read_bytes())
    if state.status != "ready":
        raise RuntimeError(f"the import ended with {state.status}: {state.reason}")
    return Imported(wall, usage.ru_utime + usage.ru_stime, peak.megabytes())


class _Peak:
    """Follows the memory of a process and of those it starts until it ends."""

    def __init__(self, number: int) -> None:
        self._process = psutil.Process(number)
        self._most = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def megabytes(self) -> float:
        """The most there was, in 10⁶ bytes."""
        self._thread.join()
        return self._most / 1e6

    def _follow(self) -> None:
        try:
            while self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                family = [self._process, *self._process.children(recursive=True)]
                self._most = max(self._most, sum(_private_bytes(each.pid) for each in family))
                # Sampling: the kernel keeps a maximum only of what includes mapped files.
                time.sleep(SAMPLE_SECONDS)
        except psutil.NoSuchProcess:
            return


def _private_bytes(number: int) -> int:
    """Memory of a process without mapped files, which the system takes back whenever it needs to."""
    try:
        lines = Path(f"/proc/{number}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))


def _write_zip(path: Path, count: int, side: int, kind: str) -> None:
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(count):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(file, kind)
            archive.writestr(f"class-{number % 10}/{number:07}.{kind.lower()}", file.getvalue())


# Photos ---------------------------------------------------------------------------------------------------------------


def _photos(quality: int) -> list[Row]:
    photos = [_photo(seed, quality) for seed in range(PHOTOS)]
    times = interleaved(
        {
            "ours": lambda: [decode(photo, SIDE, "crop", 3) for photo in photos],
            "whole": lambda: [_decoded_whole(photo) for photo in photos],
            "decoder": lambda: [_decoded_small(photo) for photo in photos],
        },
        REPEATS,
    )
    megabytes = statistics.mean(map(len, photos)) / 1e6
    name = f"photos of 12 megapixels ({megabytes:.1f} MB) to {SIDE} px"
    return [
        row(f"{name}: images per CPU s", [PHOTOS / seconds for seconds in times["ours"].cpu], ">= 30"),
        row(f"{name}: JPEG decoder at an eighth, images per CPU s", [PHOTOS / s for s in times["decoder"].cpu]),
        row(f"{name}: Pillow without draft decoding, images per CPU s", [PHOTOS / s for s in times["whole"].cpu]),
        row(f"{name}: Runyard / Pillow, CPU", ratios(times["ours"].cpu, times["whole"].cpu), "<= 0.5"),
        row(
            f"{name}: Runyard / JPEG decoder at an eighth, CPU",
            ratios(times["ours"].cpu, times["decoder"].cpu),
            "<= 1.1",
        ),
    ]


def _photo(seed: int, quality: int) -> bytes:
    """A JPEG as large as a phone's, with the spectrum of a photo: noise whose amplitude falls with its frequency."""
    random = np.random.default_rng(seed)
    width, height = PHOTO
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = np.inf
    channels = []
    for contrast in (45, 12, 12):
        spectrum = np.exp(2j * np.pi * random.random(frequencies.shape)) / frequencies**1.2
        plane = np.fft.irfft2(spectrum, (height, width))
        channels.append(np.clip(128 + contrast * plane / plane.std(), 0, 255).astype(np.uint8))
    file = io.BytesIO()
    Image.fromarray(np.stack(channels, 2), "YCbCr").save(file, "JPEG", quality=quality)
    return file.getvalue()


def _decoded_small(photo: bytes) -> Image.Image:
    """What no importer can do without: the file read at an eighth of its size."""
    image = Image.open(io.BytesIO(photo))
    image.draft("RGB", (PHOTO[0] // 8, PHOTO[1] // 8))
    image.load()
    return image


def _decoded_whole(photo: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box))


if __name__ == "__main__":
    main()

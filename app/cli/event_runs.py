"""Folders of TensorBoard event files as runs: reads them in parts, also while they grow, and sends them to the server.

Every part says how much of its file was sent before it, so a part that is sent again adds nothing.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from app.contract.run_files import stepped_path
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.formats.event_encoding import BrokenFile
from app.formats.summary_values import EventMetadata, HistogramValue, ImageValue, Scalar, TextValue, Value
from app.formats.tfevents import EventReader

if TYPE_CHECKING:
    from runyard import Runyard

PATTERN: Final = "*tfevents*"
BATCH_WEIGHT: Final = 20_000
"""The most that one part has: of points, buckets of histograms, and characters or bytes by the following numbers."""
TEXT_WEIGHT, IMAGE_WEIGHT = 20, 500
MOST_NAMES: Final = 1000
"""Names of one part, which can have twice as many."""
MOST_FILES: Final = 10_000
LATEST: Final = 4_102_444_800.0
"""The latest time that the server accepts, in seconds since 1970."""
HEAD_BYTES: Final = 64
"""The first record has the file's creation time; a name alone may not be unique."""
REFUSED: Final = (400, 413, 422)
"""The server's answers to what it will never accept."""


@dataclass
class Part:
    """What is sent of a file at once. ``curves``, ``histograms`` and ``texts`` are those of a request."""

    file: str
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)
    histograms: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: list[tuple[str, bytes]] = field(default_factory=list)
    weight: float = 0.0
    sent: bool = False

    @property
    def full(self) -> bool:
        """Whether the rest is left for another part."""
        names = max(len(self.curves), len(self.histograms), len(self.texts))
        return self.weight >= BATCH_WEIGHT or names >= MOST_NAMES


class EventFile:
    """One event file: what it is, and how far it was read."""

    def __init__(self, path: Path, metadata: EventMetadata) -> None:
        self.path = path
        self.head = b""
        self.reader = EventReader(metadata)
        self.offsets: Counter[tuple[str, str]] = Counter()
        self.broken = ""
        self.unreadable = False
        self._seen: tuple[int, int] = (-1, -1)

    @property
    def key(self) -> str:
        """Identifies the file wherever it is moved, once its head is written."""
        return hashlib.sha256(self.path.name.encode() + self.head).hexdigest()

    @property
    def identified(self) -> bool:
        """Whether the key will not change when the file grows."""
        return len(self.head) == HEAD_BYTES

    def looks_new(self) -> bool:
        """Whether the file may have something that was not read yet. Raises OSError."""
        found = os.stat(self.path)
        seen = (found.st_size, found.st_mtime_ns)
        if seen == self._seen or (self.reader.reading.position < found.st_size < self.reader.reading.needed):
            return False
        self._seen = seen
        return True

    def look_again(self) -> None:
        """Let the file look new, since it was not read to its end."""
        self._seen = (-1, -1)

    def look_at_head(self) -> None:
        """Read what identifies the file, if that is possible now."""
        if not self.head:
            with suppress(OSError), self.path.open("rb") as opened:
                self.head = opened.read(HEAD_BYTES)

    def replaced(self, file: BinaryIO) -> bool:
        """Whether the path has another file now, or one that was written anew."""
        head = file.read(HEAD_BYTES)
        if not head.startswith(self.head):
            return True
        self.head = head
        return os.fstat(file.fileno()).st_size < self.reader.reading.position


@dataclass
class Sent:
    """What the server has got of a run, and answered."""

    points: int = 0
    histograms: int = 0
    texts: int = 0
    images: int = 0
    id: str = ""
    url: str = ""
    status: str = ""

    def __str__(self) -> str:
        """What was new, in words."""
        parts = [(self.points, "point"), (self.images, "image"), (self.histograms, "histogram"), (self.texts, "text")]
        return ", ".join(counted(count, word) for count, word in parts if count) or "no new points"


def counted(count: int, word: str) -> str:
    """A number and a noun: "1 point", "2,000 points"."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


class EventRun:
    """A folder of event files, which is one run. ``warnings``: sentences that were not shown yet."""

    def __init__(self, folder: Path, name: str, experiment: str, *, growing: bool = False) -> None:
        """``growing``: the files are read again and again, so the end of one may still be on its way."""
        self.folder, self.name, self.experiment = folder, name, experiment
        self.warnings: list[str] = []
        self._growing = growing
        self._refused: set[str] = set()
        self._before: dict[str, Any] = {}
        self._begin()

    def _begin(self) -> None:
        self.metadata = EventMetadata()
        self.files: dict[Path, EventFile] = {}
        self.sent = Sent()
        self.key = ""
        self.began, self.ended, self.left_out = math.inf, 0.0, 0
        self._part: Part | None = None
        self._images: set[str] | None = None

    def add_files(self, paths: list[Path]) -> None:
        """Take notice of files in the folder, in the order of their names, which start with a timestamp."""
        for path in sorted(paths):
            if path not in self.files:
                self.files[path] = EventFile(path, self.metadata)
        self.files = dict(sorted(self.files.items()))

    def advance(self, yard: Runyard) -> bool:
        """Send the next part; False if there is nothing new. Raises RunyardError, and sends it again next time."""
        if self._part is None:
            self._part = self._next_part()
        if self._part is None:
            return False
        if not self._part.sent:
            self._send(yard, self._part)
        self._send_images(yard, self._part)
        self._part = None
        return True

    def end(self, yard: Runyard) -> None:
        """End the run, if there is one. Raises RunyardError."""
        if self.sent.id:
            self._import(yard, Part(""), live=False)

    # Reading

    def _next_part(self) -> Part | None:
        for file in self.files.values():
            if file.broken:
                continue
            try:
                if file.looks_new():
                    with file.path.open("rb") as opened:
                        if file.replaced(opened):
                            return self._start_again()
                        if part := self._read(file, opened):
                            return part
            except BrokenFile as error:
                file.broken = str(error)
                self.warnings.append(f"{file.path}: {error}")
            except FileNotFoundError:
                continue
            except OSError as error:
                # It may be readable the next time, such as one on another machine.
                file.look_again()
                if not file.unreadable:
                    self.warnings.append(f"{file.path} cannot be read: {error.strerror}")
                file.unreadable = True
        return None

    def _start_again(self) -> Part | None:
        """A file was replaced: read all from the beginning. What the server has of the others is not added again."""
        paths = list(self.files)
        if self.sent.id and not self._before:
            self._before = self._head(live=False) | {"id": self.sent.id}
        self._begin()
        self.add_files(paths)
        return self._next_part()

    def _read(self, file: EventFile, opened: BinaryIO) -> Part | None:
        if self._growing and not file.identified:
            return None
        if not self.key:
            self.key = self._first_key()
        part, any_values = Part(file.key), False
        for values in file.reader.read(opened, growing=self._growing):
            for value in values:
                any_values |= self._take(file, part, value)
            if part.full:
                file.look_again()
                break
        return part if any_values else None

    def _first_key(self) -> str:
        """That of the first file by name. The others are looked at too: the server may know the run by one of them."""
        for file in self.files.values():
            file.look_at_head()
        return next(file.key for file in self.files.values() if file.identified or (file.head and not self._growing))

    def _take(self, file: EventFile, part: Part, value: Value) -> bool:
        """Add a value to a part; False if it is left out."""
        valid = SMALLEST_STEP <= value.step <= LARGEST_STEP and 0 < len(value.tag) <= 250
        if not valid or not 0 <= value.time <= LATEST:
            if isinstance(value, Scalar):
                self.left_out += 1
            else:
                self.metadata.leave_out("values with an invalid step, tag or time")
            return False
        kind = type(value).__name__
        offset = file.offsets[kind, value.tag]
        file.offsets[kind, value.tag] += 1
        self.began, self.ended = min(self.began, value.time), max(self.ended, value.time)
        match value:
            case Scalar():
                entry = _entry(part.curves, value, offset, "value")
                entry["value"].append(value.value if math.isfinite(value.value) else str(value.value))
                part.weight += 1
            case HistogramValue(histogram=histogram):
                entry = _entry(part.histograms, value, offset, "edges", "counts")
                entry["edges"].append(histogram.edges)
                entry["counts"].append(histogram.counts)
                part.weight += 10 + len(histogram.counts)
            case TextValue():
                _entry(part.texts, value, offset, "text")["text"].append(value.text)
                part.weight += 1 + len(value.text) / TEXT_WEIGHT
            case ImageValue():
                identity = hashlib.sha256(f"{file.key}/{offset}/{value.tag}".encode()).hexdigest()[:16]
                path = stepped_path(value.tag, value.step, round(1000 * value.time), identity, value.suffix)
                part.images.append((path, value.content))
                part.weight += 10 + len(value.content) / IMAGE_WEIGHT
        return True

    # Sending

    def _send(self, yard: Runyard, part: Part) -> None:
        from runyard import RunyardError

        if "records" in self._refused:
            part.histograms, part.texts = {}, {}
        try:
            self._import(yard, part, live=True)
        except RunyardError as error:
            if error.status not in REFUSED or not (part.histograms or part.texts):
                raise
            self._refused.add("records")
            self.warnings.append(f"{self.name}: histograms and texts are not kept: {error.detail}")
            part.histograms, part.texts = {}, {}
            self._import(yard, part, live=True)
        part.sent = True

    def _import(self, yard: Runyard, part: Part, *, live: bool) -> None:
        answer = yard.import_run(
            **self._head(live=live), file=part.file, curves=part.curves, histograms=part.histograms, texts=part.texts
        )
        self.sent.id, self.sent.url, self.sent.status = answer["id"], answer["url"], answer["status"]
        self.sent.points += answer["added"]
        self.sent.histograms += answer["histograms"]
        self.sent.texts += answer["texts"]
        if self._before:
            # The run of files that are no longer there goes on no further.
            if self._before.pop("id") != self.sent.id:
                yard.import_run(**self._before)
            self._before = {}

    def _head(self, *, live: bool) -> dict[str, Any]:
        """What a request says of the whole run."""
        return {
            "key": self.key,
            "files": [file.key for file in self.files.values() if file.head][:MOST_FILES],
            "live": live,
            "experiment": self.experiment[:200],
            "name": self.name[:200],
            "started": self.began,
            "ended": self.ended,
            "outcome": "" if live else self.metadata.outcome,
            "parameters": dict(list(self.metadata.parameters.items())[:2000]),
            "damaged": self.damaged,
            "left_out": self.left_out,
            "not_kept": dict(self.metadata.not_kept),
        }

    @property
    def damaged(self) -> int:
        """Number of places with damaged records in all files."""
        return sum(file.reader.damaged for file in self.files.values() if not file.broken)

    def _send_images(self, yard: Runyard, part: Part) -> None:
        from runyard import RunyardError

        if part.images and self._images is None:
            listed = yard.ask("GET", f"/runs/{self.sent.id}/files", under="images")["files"]
            self._images = {each["path"] for each in listed}
        known = self._images or set()
        while part.images:
            path, content = part.images[0]
            if path not in known and "images" not in self._refused:
                try:
                    yard.upload(self.sent.id, path, content)
                except RunyardError as error:
                    if error.status not in REFUSED:
                        raise
                    self._refused.add("images")
                    self.warnings.append(f"{self.name}: images are not kept: {error.detail}")
                else:
                    known.add(path)
                    self.sent.images += 1
            part.images.pop(0)

    def skipped(self) -> Iterator[str]:
        """Sentences about what was left out."""
        if self.damaged:
            yield f"{self.name}: skipped damaged records at {counted(self.damaged, 'place')}"
        if self.left_out:
            yield f"{self.name}: skipped {counted(self.left_out, 'point')} with an invalid step, tag or time"
        if self.metadata.not_kept:
            kinds = ", ".join(f"{kind} ({count:,})" for kind, count in sorted(self.metadata.not_kept.items()))
            yield f"{self.name}: not imported: {kinds}"


def _entry(entries: dict[str, dict[str, Any]], value: Value, offset: int, *lists: str) -> dict[str, Any]:
    """The entry of a part for a value's tag, with its step and time added."""
    entry = entries.get(value.tag)
    if entry is None:
        entry = entries[value.tag] = {"offset": offset} | {name: [] for name in ("step", "time", *lists)}
    entry["step"].append(value.step)
    entry["time"].append(value.time)
    return entry


# Folders -------------------------------------------------------------------------------------------------------------


def find_event_files(path: Path) -> dict[Path, list[Path]]:
    """Find all event files in a folder and its subfolders, by their folder."""
    found: dict[Path, list[Path]] = {}
    for folder, _, names in os.walk(path):
        files = [Path(folder, name) for name in names if "tfevents" in name]
        if files := [file for file in files if file.is_file()]:
            found[Path(folder)] = files
    return dict(sorted(found.items()))


def run_name(path: Path, folder: Path) -> str:
    """The name of a folder's run: its path in the imported folder, or the name of that."""
    inside = folder.relative_to(path)
    return str(inside) if inside.parts else path.resolve().name

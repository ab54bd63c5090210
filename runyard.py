"""Python client of Runyard: launch, watch and compare training runs. Needs only httpx.

    from runyard import Runyard

    yard = Runyard()
    run = yard.launch(family="simple_cnn", dataset="digits", epochs=3).wait()
    print(run.status, run.figure("test/acc"))

``AsyncRunyard`` has the same methods as coroutines and asynchronous iterators.

A program that trains by itself logs with ``yard.start(name=…)``; see LoggedRun.

The module, in order: errors, returned data, requests, runs, sweeps, imports, logging, clients, event streams,
responses.
"""

from __future__ import annotations

import asyncio
import atexit
import base64
import functools
import getpass
import io
import itertools
import json
import math
import operator
import os
import secrets
import shutil
import ssl
import struct
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, Generic, Literal, NamedTuple, ParamSpec, TypeVar, cast, overload
from urllib.parse import quote, urlsplit

import httpx

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "AsyncDatasetImport",
    "AsyncRun",
    "AsyncRunyard",
    "AsyncSweep",
    "Change",
    "Comparison",
    "Curve",
    "DatasetImport",
    "FieldProblem",
    "Figure",
    "Group",
    "LogLine",
    "LoggedRun",
    "Point",
    "Prediction",
    "Run",
    "Runyard",
    "RunyardError",
    "Sweep",
]

ENDED = ("succeeded", "failed", "cancelled")
# Limit for a whole response: the first one of a new server may wait for the inspection of all networks.
ANSWER_SECONDS = 120.0
# Limit for silence on an event stream, which sends something every 15 s.
SILENCE_SECONDS = 45.0
# How long to wait for a server that restarts, and the pause between attempts to reconnect.
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.5
JOB_PAUSE_SECONDS = 0.3
ATTEMPTS = 3
PAGE_RUNS = 200
# Logging: how often what was logged is written and sent, points of a request, and pauses while no server responds.
FLUSH_SECONDS = 0.25
PART_POINTS = 10_000
CONNECT_SECONDS = 2.0
RESPONSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 10.0
LONG_FILE_BYTES = 2**20
LONGEST_NAME = 250
LONGEST_VALUE = 6000
# An event id above all others: a stream that starts after it yields only new events.
FROM_NOW = str(2**63 - 1)

P = ParamSpec("P")
T = TypeVar("T")
RunT = TypeVar("RunT", bound="_RunBase[Any]")
SweepT = TypeVar("SweepT", bound="_SweepBase[Any, Any]")
ImportT = TypeVar("ImportT", bound="_DatasetImportBase[Any]")
Json = dict[str, Any]
Progress = Callable[[float], None]


# Errors ---------------------------------------------------------------------------------------------------------------


class FieldProblem(NamedTuple):
    """An error in one field of a request."""

    field: str
    message: str


class RunyardError(Exception):
    """A request failed for the reason ``detail``; ``status`` is the HTTP status, or 0 without a response."""

    def __init__(self, detail: str, status: int = 0, errors: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.errors = list(errors)


# Returned data --------------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    """One value of a metric, NaN if it was not finite; ``time`` in seconds since 1970, UTC."""

    metric: str
    step: int
    value: float
    time: float


class LogLine(NamedTuple):
    """A line of a run's log; ``time`` in seconds since 1970, UTC."""

    id: int
    time: float
    level: str
    text: str
    attempt: int


class Change(NamedTuple):
    """A change of a run while it trains; ``data``: all fields of the API.

    ``state``: waiting (not yet applied), applied (at ``step``), refused (see ``reason``) or late (the run has ended).
    """

    id: int
    kind: str
    value: int | float | str | None
    state: str
    step: int | None
    reason: str
    sentence: str
    data: Json


class Prediction(NamedTuple):
    """What a run's checkpoint says of a picture: the class of its first head, and of every head.

    ``probabilities``: of the first head, by class; ``heads``: each with label, index, probability and probabilities.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    heads: dict[str, Json]


class Curve(NamedTuple):
    """A curve as numpy arrays, or as lists without numpy. Values that were not finite are NaN."""

    step: Any
    value: Any
    time: Any


class Figure(NamedTuple):
    """Mean of a metric over the runs of a group; ``half``: half width of its 95% interval, None for a single run."""

    mean: float
    half: float | None
    values: list[float]
    best: bool

    def __str__(self) -> str:
        digits = 4 if abs(self.mean) < 10 else 1 if abs(self.mean) < 1000 else 0
        mean = f"{self.mean:,.{digits}f}"
        return mean if self.half is None else f"{mean} ± {self.half:,.{digits}f}"


class Group(NamedTuple):
    """Runs that differ only in their seed, and their figures by metric."""

    title: str
    runs: list[str]
    figures: dict[str, Figure]

    @property
    def seeds(self) -> int:
        """Number of distinct seeds (reruns of a seed count once); number of runs if there are no metrics yet."""
        return max((len(figure.values) for figure in self.figures.values()), default=len(self.runs))


def _figure_text(name: str, figure: Figure | None) -> str:
    """Format a figure with its unit: accuracies in percent, durations in seconds, whole numbers without decimals."""
    if figure is None:
        return "–"
    if name.endswith(("acc", "top5")):
        mean = f"{100 * figure.mean:.2f}"
        return f"{mean}%" if figure.half is None else f"{mean} ± {100 * figure.half:.2f}%"
    if name == "duration":
        mean = f"{figure.mean:,.1f}"
        return f"{mean} s" if figure.half is None else f"{mean} ± {figure.half:,.1f} s"
    if not figure.half and float(figure.mean).is_integer():
        return f"{figure.mean:,.0f}"
    return str(figure)


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, in the order of their first runs; ``print`` shows a table.

    ``sentence``: whether the best group is significantly better than the next; ``url``: page with the same comparison.
    """

    groups: list[Group]
    sentence: str
    url: str

    @property
    def names(self) -> list[str]:
        """Names of all figures of all groups."""
        return list(dict.fromkeys(name for group in self.groups for name in group.figures))

    def table(self) -> list[list[str]]:
        """Return rows of text, the header first."""
        rows = [
            [group.title, str(group.seeds), *(_figure_text(name, group.figures.get(name)) for name in self.names)]
            for group in self.groups
        ]
        return [["configuration", "n", *self.names], *rows]

    def __str__(self) -> str:
        rows = self.table()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *([self.sentence] if self.sentence else [])])


# Requests: described once, sent by both clients -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A request, and how to read its response. With a ``key``, it can be repeated if the connection breaks."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    form: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[tuple[str, _File]] = ()
    content: bytes | None = None

    @property
    def attempts(self) -> int:
        return ATTEMPTS if self.key or self.method in ("GET", "PUT") else 1

    def arguments(self) -> Json:
        """Return the arguments for httpx."""
        arguments: Json = {
            "method": self.method,
            "url": f"/api/v1{self.path}",
            "params": {name: value for name, value in self.query.items() if value is not None},
            "headers": {"idempotency-key": self.key} if self.key else {},
        }
        if self.form:
            # Files are read while they are sent, whatever their size.
            parts = [("file", (name, file, "application/octet-stream")) for name, file in self.files]
            fields = [(name, (None, value)) for name, value in self.form.items()]
            return arguments | {"files": [*fields, *parts], "timeout": httpx.Timeout(ANSWER_SECONDS, write=None)}
        if self.content is not None:
            return arguments | {"content": self.content}
        return arguments | ({} if self.body is None else {"json": self.body})


def _new_key() -> str:
    """An idempotency key: a request that is repeated with it after a broken connection is done once."""
    return secrets.token_urlsafe(16)


class _File:
    """A file that is open only while it is read: a folder may have more of them than may be open at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._at = 0
        self._open: IO[bytes] | None = None

    def read(self, size: int = -1) -> bytes:
        """Read on; closes the file at its end."""
        if self._open is None:
            self._open = self._path.open("rb")
            self._open.seek(self._at)
        data = self._open.read(size)
        self._at += len(data)
        if not data or self._at >= self._size:
            self._open.close()
            self._open = None
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Where to read on; the size of the file is asked for this way."""
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        if self._open is not None:
            self._open.seek(self._at)
        return self._at

    def tell(self) -> int:
        """Where it is read on."""
        return self._at


def _files(source: Path) -> list[tuple[str, _File]]:
    """A file, or all files of a folder, with the names to send. Raises ValueError if there is none."""
    if source.is_file():
        return [(_text(source.name), _File(source))]
    found = sorted(path for path in source.rglob("*") if path.is_file() and not _leads_out(path, source))
    if not found:
        raise ValueError(f"no files in {source}" if source.is_dir() else f"{source} does not exist")
    top = source.resolve().name
    return [(_text(f"{top}/{path.relative_to(source).as_posix()}"), _File(path)) for path in found]


def _leads_out(path: Path, source: Path) -> bool:
    """Whether a path is a link out of the folder, which is not uploaded."""
    return path.is_symlink() and not path.resolve().is_relative_to(source.resolve())


def _text(name: str) -> str:
    """A name that UTF-8 can encode: one whose bytes are not UTF-8 is read as Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")
    return name


# Pictures -------------------------------------------------------------------------------------------------------------


def _pictures(pictures: Sequence[Any]) -> Json:
    """A request with paths, contents of image files, PIL images or arrays. Raises ValueError, TypeError, OSError."""
    if isinstance(pictures, str | bytes | os.PathLike):
        raise TypeError("pass a list of images, even for one")
    names = [os.fspath(each) if isinstance(each, str | os.PathLike) else "" for each in pictures]
    return {"pictures": [base64.b64encode(_picture(each)).decode() for each in pictures]} | (
        {"names": [name or f"image {place}" for place, name in enumerate(names, 1)]} if any(names) else {}
    )


def _picture(picture: Any) -> bytes:
    if isinstance(picture, bytes | bytearray):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike):
        return Path(picture).expanduser().read_bytes()
    if hasattr(picture, "save") and hasattr(picture, "mode"):
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()
    if hasattr(picture, "shape") and hasattr(picture, "tobytes"):
        return _png(picture)
    raise TypeError(f"an image must be a path, bytes, a PIL image or a numpy array, not {type(picture).__name__}")


def _png(pixels: Any) -> bytes:
    """A PNG of an array uint8 [H, W] or [H, W, C]."""
    shape = tuple(pixels.shape)
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    channels = 1 if len(shape) == 2 else shape[-1] if len(shape) == 3 else 0
    if channels not in kinds or 0 in shape:
        raise ValueError(f"an array must be [height, width] or [height, width, 1 to 4 channels], not {list(shape)}")
    if str(pixels.dtype) != "uint8":
        raise ValueError(f"an array must be uint8 with values from 0 to 255, not {pixels.dtype}")
    height, width = shape[:2]
    data, stride = pixels.tobytes(), width * channels
    rows = b"".join(b"\0" + data[at : at + stride] for at in range(0, len(data), stride))

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, kinds[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _predictions(response: Json) -> list[Prediction]:
    found = []
    for each in response["predictions"]:
        first = next(iter(each["heads"].values()))
        found.append(Prediction(each["label"], each["probability"], first["probabilities"], each["heads"]))
    return found


class _Sync:
    """A class whose requests return their result."""

    def _send(self, call: _Call[T]) -> T:
        raise NotImplementedError


class _Async:
    """A class whose requests are coroutines."""

    async def _send(self, call: _Call[T]) -> T:
        raise NotImplementedError


class _SyncObject(_Sync):
    _client: Runyard

    def _send(self, call: _Call[T]) -> T:
        return self._client._send(call)


class _AsyncObject(_Async):
    _client: AsyncRunyard

    async def _send(self, call: _Call[T]) -> T:
        return await self._client._send(call)


class _request(Generic[P, T]):  # noqa: N801
    """A method that sends one request and returns its result; on an async class, a coroutine."""

    def __init__(self, describe: Callable[Concatenate[Any, P], _Call[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, instance: _Sync, kind: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: _Async, kind: Any = None) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, instance: None, kind: Any = None) -> Callable[Concatenate[Any, P], _Call[T]]: ...
    def __get__(self, instance: Any, kind: Any = None) -> Any:
        if instance is None:  # accessed on the class, e.g. by help()
            return self._describe

        def send(*arguments: P.args, **named: P.kwargs) -> Any:
            return instance._send(self._describe(instance, *arguments, **named))

        return functools.update_wrapper(send, self._describe)


def _as_is(response: Any) -> Any:
    return response


def _not_none(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _id(run: Any) -> str:
    """The ID of a run, also given by its ID or number."""
    return str(run) if isinstance(run, str | int) else str(run.id)


# Runs -----------------------------------------------------------------------------------------------------------------


class _RunBase(Generic[RunT]):
    """A run as of the last request; ``data``: all fields of the API."""

    id: str
    number: int
    title: str
    status: str
    reason: str
    spec: Json
    tags: list[str]
    summary: dict[str, Json]
    progress: Json
    parent: str | None
    relation: str
    sweep: str | None

    def __init__(self, client: _Api[RunT, Any, Any], data: Json) -> None:
        self._client: Any = client
        self._update(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.number} {self.title!r} {self.status}>"

    def _update(self, data: Json) -> RunT:
        self.data = data
        for name in _RunBase.__annotations__:
            setattr(self, name, data.get(name))
        # A run that was trained elsewhere has no spec.
        self.spec = self.spec or {}
        return cast(RunT, self)

    def _new_run(self, data: Json) -> RunT:
        return cast(RunT, self._client._run(data))

    @property
    def url(self) -> str:
        """URL of its page."""
        return f"{self._client.url}/runs/{self.id}"

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status in ENDED

    def figure(self, metric: str) -> float | None:
        """Return the headline value of a metric: the last value of test metrics, else the best value."""
        value = self.summary.get(metric, {}).get("last" if metric.startswith("test/") else "best")
        return None if value is None else float(value)

    @_request
    def refresh(self, /) -> _Call[RunT]:
        """Update the run from the server."""
        return _Call("GET", f"/runs/{self.id}", self._update)

    @_request
    def cancel(self, /) -> _Call[RunT]:
        """Cancel a queued run, or stop a training run after the current batch and save a checkpoint."""
        return _Call("POST", f"/runs/{self.id}/cancel", self._update)

    @_request
    def change(
        self,
        /,
        *,
        epochs: int | None = None,
        lr_factor: float | None = None,
        stop_after_epoch: bool | None = None,
        checkpoint: bool | None = None,
        note: str | None = None,
    ) -> _Call[Change]:
        """Request one change of a training run, to apply before its next step; ``changes`` shows its state.

        ``epochs``: new total number of epochs; ``lr_factor``: factor by which to multiply the learning rate;
        ``stop_after_epoch``: stop after the current epoch, then evaluate on the test set; ``checkpoint``: save a
        permanent checkpoint; ``note``: text to add to the charts at the current step.
        """
        requested = _not_none(epochs=epochs, lr_factor=lr_factor, note=note)
        requested |= {
            kind: None
            for kind, enabled in (("stop_after_epoch", stop_after_epoch), ("checkpoint", checkpoint))
            if enabled
        }
        if len(requested) != 1:
            raise ValueError("pass exactly one of epochs, lr_factor, stop_after_epoch, checkpoint or note")
        ((kind, value),) = requested.items()
        return _Call("POST", f"/runs/{self.id}/changes", _change, {"kind": kind} | _not_none(value=value))

    @_request
    def changes(self, /) -> _Call[list[Change]]:
        """List applied, refused and pending changes of the run."""
        return _Call(
            "GET", f"/runs/{self.id}/changes", lambda response: [_change(data) for data in response["changes"]]
        )

    @_request
    def marks(self, /) -> _Call[list[Json]]:
        """List events of the run by step: checkpoints, best epoch, warnings, restarts, changes, notes, forks."""
        return _Call("GET", f"/runs/{self.id}/marks", lambda response: list(response["marks"]))

    @_request
    def retry(self, /) -> _Call[RunT]:
        """Launch the same configuration again from scratch."""
        return _Call("POST", f"/runs/{self.id}/retry", self._new_run, key=_new_key())

    @_request
    def resume(self, /, epochs: int | None = None, worker: str | None = None) -> _Call[RunT]:
        """Continue from the last checkpoint as a new run, by default with the same number of epochs and worker.

        ``epochs``: new total number. ``worker``: train only there, or with "" anywhere.
        """
        body = _not_none(epochs=epochs, worker=worker)
        return _Call("POST", f"/runs/{self.id}/resume", self._new_run, body, key=_new_key())

    @_request
    def clone(self, /, **changes: Any) -> _Call[RunT]:
        """Launch a copy of the run with these changes."""
        return _Call("POST", f"/runs/{self.id}/clone", self._new_run, changes, key=_new_key())

    @_request
    def fork(self, /, epoch: int, **changes: Any) -> _Call[RunT]:
        """Continue from the end of ``epoch`` as a new run, with these changes."""
        body = {"epoch": epoch, "changes": changes}
        return _Call("POST", f"/runs/{self.id}/fork", self._new_run, body, key=_new_key())

    @_request
    def edit(self, /, **fields: Any) -> _Call[RunT]:
        """Change name, notes, tags or, while the run is queued, priority."""
        return _Call("PATCH", f"/runs/{self.id}", self._update, fields)

    @_request
    def predict(
        self, /, pictures: Sequence[Any], *, checkpoint: str = "best", center: str = "auto", top: int = 0
    ) -> _Call[list[Prediction]]:
        """Predict the classes of pictures: paths, contents of image files, PIL images or uint8 arrays, up to 512.

        ``checkpoint``: best or last. ``center``: whether drawings are placed as the dataset's digits were (auto, on,
        off). ``top``: only this many classes; 0: all.
        """
        query = {"checkpoint": checkpoint, "center": center, "top": top}
        return _Call("POST", f"/runs/{self.id}/predict", _predictions, _pictures(pictures), query)

    @_request
    def delete(self, /) -> _Call[None]:
        """Move an ended run to the trash."""
        return _Call("DELETE", f"/runs/{self.id}", lambda _: None)

    @_request
    def restore(self, /) -> _Call[RunT]:
        """Restore the run from the trash."""
        return _Call("POST", f"/runs/{self.id}/restore", self._update)

    @_request
    def curves(self, /, names: Sequence[str] = (), points: int = 0) -> _Call[dict[str, Curve]]:
        """Get curves as a dict by metric.

        ``names``: metrics (default: all); ``points``: approximate maximum per curve (0: all).
        """
        query = {"names": ",".join(names), "points": points}
        return _Call("GET", f"/runs/{self.id}/metrics", _curves, None, query)

    @_request
    def frame(self, /, names: Sequence[str] = (), points: int = 0) -> _Call[Any]:
        """Get curves as a pandas DataFrame with one row per step and one column per metric."""
        pandas = _pandas()

        def read(curves: Json) -> Any:
            columns = {name: pandas.Series(c["value"], c["step"], dtype=float, name=name) for name, c in curves.items()}
            return pandas.DataFrame(columns).rename_axis("step")

        query = {"names": ",".join(names), "points": points}
        return _Call("GET", f"/runs/{self.id}/metrics", read, None, query)

    @_request
    def _start_job(self, /, kind: str, options: Json) -> _Call[Json]:
        return _Call("POST", f"/runs/{self.id}/jobs", _as_is, {"kind": kind, "options": options})

    @_request
    def _jobs(self, /) -> _Call[list[Json]]:
        return _Call("GET", f"/runs/{self.id}/jobs", lambda response: list(response["jobs"]))

    @_request
    def _job(self, /, job: str) -> _Call[Json]:
        return _Call("GET", f"/jobs/{job}", _as_is)

    @_request
    def exports(self, /) -> _Call[list[Json]]:
        """List the files that exports of this run wrote, newest first."""
        return _Call("GET", f"/runs/{self.id}/exports", lambda response: list(response["exports"]))

    @_request
    def predictions(self, /, *, head: str = "", part: str = "", epoch: int | None = None) -> _Call[Json]:
        """Get what the run predicted for a split: accuracy, calibration error, confusion matrix, scores by class.

        ``head``: a target (default: the main one); ``part``: test (default) or validation; ``epoch``: after this epoch
        instead of the best checkpoint, for validation.
        """
        query = _not_none(head=head or None, part=part or None, epoch=epoch)
        return _Call("GET", f"/runs/{self.id}/predictions", _as_is, None, query)

    @_request
    def pictures(self, /, **filters: Any) -> _Call[list[Json]]:
        """List images of a split with what was predicted for them, the most wrong first; at most 200.

        ``filters``: query parameters of the API, such as true=4, right=False, sort="unsure", offset=200.
        """
        query = {"limit": 200} | filters
        return _Call("GET", f"/runs/{self.id}/predictions/pictures", lambda found: list(found["pictures"]), None, query)

    @_request
    def files(self, /, under: str = "") -> _Call[list[Json]]:
        """List the run's files: path, source, kind, bytes, created and url. under: only those in this folder."""
        query = {"under": under or None}
        return _Call("GET", f"/runs/{self.id}/files", lambda found: list(found["files"]), None, query)

    @_request
    def _all_points(self, /) -> _Call[Json]:
        return _Call("GET", f"/runs/{self.id}/metrics", _as_is, None, {"points": 0})

    @_request
    def _lines(self, /, tail: int) -> _Call[list[Json]]:
        return _Call("GET", f"/runs/{self.id}/logs", lambda response: list(response["lines"]), None, {"tail": tail})

    def _stream(self, after: str, seconds: float | None = None) -> _Stream:
        return _Stream(f"/runs/{self.id}/events", after, seconds, f"run {self.id} has not ended")


class Run(_SyncObject, _RunBase["Run"]):
    """A run."""

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until the run has ended. Raises TimeoutError after ``timeout`` seconds; the run continues."""
        for _ in self._client._events(self._stream(FROM_NOW, timeout)):
            pass
        return self.refresh()

    def metrics(self, names: Sequence[str] | None = None) -> Iterator[Point]:
        """Iterate over all points, past and future, until the run has ended: each point exactly once.

        If a lost run restarts from a checkpoint, repeated steps are skipped. Points of a run that a script logs come in
        the order in which it logged them, which need not be that of their steps.
        """
        unseen = _Unseen(names, any_order=bool(self.data.get("origin")))
        for event, data in self._client._events(self._stream("0")):
            if event in ("metrics", "reset"):
                yield from unseen.points(self._all_points() if event == "reset" else data)

    def logs(self, follow: bool = False, tail: int = 10_000) -> Iterator[LogLine]:
        """Iterate over the last lines of the log; with ``follow``, also over new lines until the run has ended."""
        unseen = _Unseen()
        yield from unseen.lines(self._lines(tail))
        for event, data in self._client._events(self._stream("0")) if follow else ():
            if event == "log":
                yield from unseen.lines(data)

    def export(
        self, format: str, path: str | os.PathLike[str], *, preprocessing: bool = True, timeout: float | None = None
    ) -> Json:
        """Export the network of the best checkpoint and save it. Returns the result of the job.

        format: "onnx", "torch_export" or "safetensors"; the last one also saves a JSON file beside it, which says
        how to build and feed the network. preprocessing: whether the file takes raw pixels and normalizes them itself.
        Raises TimeoutError after ``timeout`` seconds, and RunyardError if the export fails.
        """
        job = self._done("export", _export_options(format, preprocessing), _deadline(timeout))
        for name, target in _export_targets(job, Path(path)):
            self._save(f"/exports/{name}", target)
        return dict(job["result"])

    def evaluate(self, *, timeout: float | None = None, progress: Progress | None = None) -> Json:
        """Predict all validation and test images with the best checkpoint, if the predictions were not kept.

        Returns the result of the job, with ``accuracy`` by split and head; `predictions` has the details then.
        progress: is called with the share that is done, 0 to 1. Raises TimeoutError after ``timeout`` seconds, and
        RunyardError if it fails.
        """
        return dict(self._done("evaluate", {}, _deadline(timeout), progress)["result"])

    def robustness(self, *, seed: int = 0, timeout: float | None = None, progress: Progress | None = None) -> Json:
        """Measure the accuracy of the best checkpoint on test images that are spoiled in 15 ways and 5 strengths.

        Returns the result of the job: ``clean`` and ``mean`` accuracy by head, ``accuracy`` by head and corruption; of
        an earlier one if there is one with this ``seed``. Otherwise see `evaluate`.
        """
        found = _measured(self._jobs(), seed)
        return found or dict(self._done("robustness", {"seed": seed}, _deadline(timeout), progress)["result"])

    def _done(self, kind: str, options: Json, deadline: float, progress: Progress | None = None) -> Json:
        job = self._start_job(kind, options)
        while not _job_ended(job, deadline):
            if progress is not None:
                progress(job["share"])
            time.sleep(JOB_PAUSE_SECONDS)
            job = self._job(job["id"])
        return job

    def download(self, path: str = "", to: str | os.PathLike[str] | None = None) -> Path:
        """Save one of the run's files, or without a path all of them as a zip archive. Returns where it is.

        to: file or folder to save to; the current folder by default. An existing file is replaced.
        """
        address, target = _download_target(self.number, path, to)
        self._save(address, target)
        return target

    def _save(self, address: str, target: Path) -> None:
        with _saving(target) as file, self._client._http.stream("GET", f"/api/v1/runs/{self.id}{address}") as response:
            if response.status_code != 200:
                response.read()
                _read(response, self._client.url)
            for chunk in response.iter_bytes():
                file.write(chunk)


class AsyncRun(_AsyncObject, _RunBase["AsyncRun"]):
    """A run with asynchronous methods."""

    async def wait(self, timeout: float | None = None) -> AsyncRun:
        """See Run.wait."""
        async for _ in self._client._events(self._stream(FROM_NOW, timeout)):
            pass
        return await self.refresh()

    async def metrics(self, names: Sequence[str] | None = None) -> AsyncIterator[Point]:
        """See Run.metrics."""
        unseen = _Unseen(names, any_order=bool(self.data.get("origin")))
        async for event, data in self._client._events(self._stream("0")):
            if event in ("metrics", "reset"):
                for point in unseen.points(await self._all_points() if event == "reset" else data):
                    yield point

    async def logs(self, follow: bool = False, tail: int = 10_000) -> AsyncIterator[LogLine]:
        """See Run.logs."""
        unseen = _Unseen()
        for line in unseen.lines(await self._lines(tail)):
            yield line
        if follow:
            async for event, data in self._client._events(self._stream("0")):
                for line in unseen.lines(data) if event == "log" else ():
                    yield line

    async def export(
        self, format: str, path: str | os.PathLike[str], *, preprocessing: bool = True, timeout: float | None = None
    ) -> Json:
        """See Run.export."""
        job = await self._done("export", _export_options(format, preprocessing), _deadline(timeout))
        for name, target in _export_targets(job, Path(path)):
            await self._save(f"/exports/{name}", target)
        return dict(job["result"])

    async def evaluate(self, *, timeout: float | None = None, progress: Progress | None = None) -> Json:
        """See Run.evaluate."""
        return dict((await self._done("evaluate", {}, _deadline(timeout), progress))["result"])

    async def robustness(
        self, *, seed: int = 0, timeout: float | None = None, progress: Progress | None = None
    ) -> Json:
        """See Run.robustness."""
        found = _measured(await self._jobs(), seed)
        return found or dict((await self._done("robustness", {"seed": seed}, _deadline(timeout), progress))["result"])

    async def _done(self, kind: str, options: Json, deadline: float, progress: Progress | None = None) -> Json:
        job = await self._start_job(kind, options)
        while not _job_ended(job, deadline):
            if progress is not None:
                progress(job["share"])
            await asyncio.sleep(JOB_PAUSE_SECONDS)
            job = await self._job(job["id"])
        return job

    async def download(self, path: str = "", to: str | os.PathLike[str] | None = None) -> Path:
        """See Run.download."""
        address, target = _download_target(self.number, path, to)
        await self._save(address, target)
        return target

    async def _save(self, address: str, target: Path) -> None:
        with _saving(target) as file:
            async with self._client._http.stream("GET", f"/api/v1/runs/{self.id}{address}") as response:
                if response.status_code != 200:
                    await response.aread()
                    _read(response, self._client.url)
                async for chunk in response.aiter_bytes():
                    file.write(chunk)


def _export_options(file_format: str, preprocessing: bool) -> Json:
    return {"format": file_format, "preprocessing": preprocessing}


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _job_ended(job: Json, deadline: float) -> bool:
    """Whether a job has succeeded. Raises RunyardError if it has failed, TimeoutError after the deadline."""
    if job["status"] in ("failed", "cancelled"):
        raise RunyardError(job["reason"] or f"the job was {job['status']}")
    if job["status"] != "succeeded" and time.monotonic() > deadline:
        raise TimeoutError(f"job {job['id']} has not ended; it continues on the server")
    return bool(job["status"] == "succeeded")


def _measured(jobs: Sequence[Json], seed: int) -> Json | None:
    """The newest robustness that was measured with this seed."""
    wanted = ("robustness", "succeeded", {"seed": seed})
    return next((dict(job["result"]) for job in jobs if (job["kind"], job["status"], job["options"]) == wanted), None)


def _export_targets(job: Json, path: Path) -> list[tuple[str, Path]]:
    """The exported files and where to save them: the first one at ``path``, a JSON file beside it."""
    names = [file["name"] for file in job["result"]["files"]]
    return [(name, path if i == 0 else path.with_suffix(Path(name).suffix)) for i, name in enumerate(names)]


def _download_target(number: int, path: str, to: str | os.PathLike[str] | None) -> tuple[str, Path]:
    """The address of a run's file, or of an archive of all, and where to save it: never outside of ``to``."""
    # A script chose these names, and a backslash separates folders on some systems.
    parts = path.replace("\\", "/").split("/") if path else [f"run-{number}-files.zip"]
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"'{path}' is not the path of a file")
    target = Path("." if to is None else to)
    if target.is_dir():
        target /= parts[-1]
    return (f"/files/{quote(path)}?download=true" if path else "/files.zip"), target


@contextmanager
def _saving(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears only once it is complete."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# Sweeps ---------------------------------------------------------------------------------------------------------------


class _SweepBase(Generic[SweepT, RunT]):
    """A sweep as of the last request; ``data``: all fields of the API."""

    id: str
    number: int
    name: str
    title: str
    status: str
    planned: int
    counts: dict[str, int]
    best: Json | None
    runs: list[str]

    def __init__(self, client: _Api[RunT, SweepT, Any], data: Json) -> None:
        self._client: Any = client
        self._update(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.number} {self.title!r} {self.status}>"

    def _update(self, data: Json) -> SweepT:
        self.data = data
        for name in _SweepBase.__annotations__:
            setattr(self, name, data.get(name))
        self.runs = data.get("runs", [])
        return cast(SweepT, self)

    @property
    def url(self) -> str:
        """URL of its page."""
        return f"{self._client.url}/sweeps/{self.id}"

    @property
    def ended(self) -> bool:
        """Whether the sweep launches no more runs and all of its runs have ended."""
        active = sum(count for status, count in self.counts.items() if status not in ENDED)
        return self.status != "running" and not active

    @_request
    def refresh(self, /) -> _Call[SweepT]:
        """Update the sweep from the server."""
        return _Call("GET", f"/sweeps/{self.id}", self._update)

    @_request
    def stop(self, /) -> _Call[SweepT]:
        """Stop the sweep and all of its runs."""
        return _Call("POST", f"/sweeps/{self.id}/stop", self._update)

    @_request
    def extend(self, /, **more: Any) -> _Call[SweepT]:
        """Add values, seeds or draws to the sweep."""
        return _Call("POST", f"/sweeps/{self.id}/extend", self._update, more)


class Sweep(_SyncObject, _SweepBase["Sweep", Run]):
    """A sweep."""

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait until all runs have ended. Raises TimeoutError after ``timeout`` seconds; the sweep continues."""
        for _ in self._client.changes(timeout):
            if self.refresh().ended:
                break
            time.sleep(PAUSE_SECONDS)
        return self


class AsyncSweep(_AsyncObject, _SweepBase["AsyncSweep", AsyncRun]):
    """A sweep with asynchronous methods."""

    async def wait(self, timeout: float | None = None) -> AsyncSweep:
        """See Sweep.wait."""
        async for _ in self._client.changes(timeout):
            if (await self.refresh()).ended:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return self


# Imports --------------------------------------------------------------------------------------------------------------


class _DatasetImportBase(Generic[ImportT]):
    """An import of images as of the last request; ``data``: all fields of the API.

    ``status``: waiting, reading, preview (waits for choices in the browser), keeping, ready, failed or cancelled.
    ``done`` of ``total`` of what ``task`` says; ``reason``: why it failed; ``version``: of the dataset that it made.
    """

    id: str
    name: str
    status: str
    task: str
    done: int
    total: int
    reason: str
    version: str

    def __init__(self, client: _Api[Any, Any, ImportT], data: Json) -> None:
        self._client: Any = client
        self._update(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.status}>"

    def _update(self, data: Json) -> ImportT:
        self.data = data
        for name in _DatasetImportBase.__annotations__:
            setattr(self, name, data.get(name))
        return cast(ImportT, self)

    def _settled(self, deadline: float) -> bool:
        """Whether it is ready, or shows its preview. Raises RunyardError if it has failed, TimeoutError if too late."""
        if self.status in ("failed", "cancelled"):
            raise RunyardError(self.reason or f"the import of {self.name} was {self.status}")
        settled = self.status in ("ready", "preview")
        if not settled and time.monotonic() > deadline:
            raise TimeoutError(f"the import of {self.name} has not ended; it continues on the server")
        return settled

    @property
    def url(self) -> str:
        """URL of its page."""
        return f"{self._client.url}/datasets/imports/{self.id}"

    @_request
    def refresh(self, /) -> _Call[ImportT]:
        """Update the import from the server."""
        return _Call("GET", f"/dataset-imports/{self.id}", self._update)

    @_request
    def cancel(self, /) -> _Call[ImportT]:
        """Cancel the import; one that has ended is removed from the list. A dataset that it created stays."""
        return _Call("DELETE", f"/dataset-imports/{self.id}", self._update)


class DatasetImport(_SyncObject, _DatasetImportBase["DatasetImport"]):
    """An import of images."""

    def wait(self, timeout: float | None = None) -> DatasetImport:
        """Wait until runs can use the dataset or, with ``keep=False``, until there is a preview.

        Raises RunyardError with the reason if the import fails, and TimeoutError after ``timeout`` seconds; the import
        continues.
        """
        deadline = _deadline(timeout)
        while not self.refresh()._settled(deadline):
            time.sleep(JOB_PAUSE_SECONDS)
        return self


class AsyncDatasetImport(_AsyncObject, _DatasetImportBase["AsyncDatasetImport"]):
    """An import of images with asynchronous methods."""

    async def wait(self, timeout: float | None = None) -> AsyncDatasetImport:
        """See DatasetImport.wait."""
        deadline = _deadline(timeout)
        while not (await self.refresh())._settled(deadline):
            await asyncio.sleep(JOB_PAUSE_SECONDS)
        return self


# Logging --------------------------------------------------------------------------------------------------------------


class LoggedRun:
    """A run that this program trains; from ``Runyard.start``. Use it in a ``with`` block, or call ``finish``.

    What is logged goes to a file at once and to the server in the background, in order and each point once. A server
    that does not respond slows nothing and loses nothing; `runyard sync` sends what is left when the program has ended.
    The methods raise RuntimeError after ``finish`` and in a forked process.

    ``shared``: it is the run of the command to which this program belongs, as other programs may do. Its exit status
    ends it, and ``finish`` only sends what is left.
    """

    def __init__(self, url: str, head: Json, options: Json) -> None:
        self.name = _run_name(head)
        self.shared = "run" in head
        self._pending: deque[tuple[str, int, float, float]] = deque()
        self._parameters: Json = {}
        self._checked: set[str] = set()
        self._step = -1
        self._process = os.getpid()
        self._counts: dict[str, int] = {}
        self._unwritten: Json = {}
        self._in_trouble = False
        self._outcome: Json | None = None
        self._ended = False
        self._ending = threading.Event()
        self._spool = _Spool.new(_spool_folder(), url, head)
        self._sender = _Sender(self._spool, options)
        self._sender.send()
        if self._sender.refusal is not None:
            self._ended = True
            self._sender.close()
            self._spool.close(keep=False)
            raise self._sender.refusal
        self._thread = threading.Thread(target=self._work, name="runyard", daemon=True)
        self._thread.start()
        if self.shared:
            # What an earlier attempt of the command could not send, if it was killed.
            threading.Thread(target=_send_left_parts, args=(url, options, head["run"]), daemon=True).start()
        atexit.register(self._at_exit)

    @property
    def id(self) -> str:
        """The run's ID; "" until the server has responded for the first time."""
        return self._sender.run

    @property
    def url(self) -> str:
        """Address of the run's page; "" until the server has responded for the first time."""
        return f"{self._sender.url}/runs/{self.id}" if self.id else ""

    @property
    def stopped(self) -> bool:
        """Whether the server accepts no more data, because the run was stopped or deleted there."""
        return self._sender.refusal is not None

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log a value of each metric. ``step``: a whole number; by default, one more than the last.

        Values are numbers, or arrays and tensors with one element. Raises TypeError and ValueError for anything else,
        and then logs nothing.
        """
        self._check_open()
        if step is None:
            step = self._step + 1
        elif type(step) is not int:
            step = operator.index(step)
        if not -(2**63) <= step < 2**63:
            raise ValueError(f"a step must be a whole number of 64 bits, not {step}")
        now = time.time()
        found = []
        for name, value in values.items():
            if name not in self._checked:
                self._check_name(name)
            found.append((name, step, value if type(value) is float else _number(name, value), now))
        self._step = step
        self._pending.extend(found)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log settings, such as the learning rate. Raises ValueError if one has another value already."""
        self._check_open()
        texts = {str(name): str(value) for name, value in parameters.items()}
        for name, value in texts.items():
            if not 0 < len(name) <= LONGEST_NAME:
                raise ValueError(f"the name of a parameter must have 1 to {LONGEST_NAME} characters")
            if len(value) > LONGEST_VALUE:
                raise ValueError(
                    f"parameter '{name}' has {len(value):,} characters; at most {LONGEST_VALUE:,} are kept"
                )
            if self._parameters.get(name, value) != value:
                raise ValueError(f"parameter '{name}' is already '{self._parameters[name]}' and cannot change")
        new = {name: value for name, value in texts.items() if name not in self._parameters}
        if new:
            self._parameters |= new
            self._spool.add({"parameters": new})

    def log_file(self, path: str | os.PathLike[str], name: str = "") -> None:
        """Keep a file with the run, as it is now. ``name``: its path among the run's files; default: its own name.

        Raises OSError if it cannot be read or copied, and ValueError for a name that leads out of the run's files.
        """
        self._check_open()
        source = Path(path)
        name = name or source.name
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"'{name}' cannot be the path of a file of a run; use names joined by /")
        self._spool.add_file(name, lambda copy: shutil.copyfile(source, copy))

    def log_image(self, name: str, image: Any, step: int | None = None) -> None:
        """Keep an image: a path, the content of a file, a PIL image or a uint8 array. ``step``: default the last.

        Images of one name form a row by step on the page of the run's files. Raises TypeError, ValueError and OSError.
        """
        self._check_open()
        self._check_name(name)
        content = _picture(image)
        step = max(self._step, 0) if step is None else operator.index(step)
        kind = "webp" if content[8:12] == b"WEBP" else "png"
        # As MLflow's client names them.
        unique = f"{step}+timestamp+{time.time_ns() // 1_000_000}+{secrets.token_hex(8)}"
        path = f"images/{name.replace('/', '~')}+step+{unique}.{kind}"
        self._spool.add_file(path, lambda copy: copy.write_bytes(content))

    def finish(self, outcome: Literal["succeeded", "failed", "cancelled"] = "succeeded", timeout: float = 30.0) -> None:
        """End the run, unless it is shared, and wait until the server has everything, at most ``timeout`` seconds."""
        if self._ended or os.getpid() != self._process:
            return
        if outcome not in ENDED:
            raise ValueError(f"no outcome '{outcome}'; outcomes: {', '.join(ENDED)}")
        self._ended = True
        atexit.unregister(self._at_exit)
        self._outcome = None if self.shared else {"outcome": outcome, "ended": time.time()}
        self._sender.deadline = time.monotonic() + timeout
        self._ending.set()
        self._thread.join()
        self._sender.close()
        self._spool.close(keep=not self._sender.all_sent)
        if self._sender.refusal is None and not self._sender.all_sent:
            _say(
                f"{self._sender.url} does not respond; what it does not have yet is kept in {self._spool.path}."
                " `runyard sync` sends it."
            )

    def __enter__(self) -> LoggedRun:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, *__: TracebackType | None) -> None:
        self.finish(_outcome_of(error))

    def __repr__(self) -> str:
        return f"<LoggedRun {self.name!r}{f' {self.id}' if self.id else ''}>"

    def _check_open(self) -> None:
        if self._ended:
            raise RuntimeError("this run has finished; start another one")
        if os.getpid() != self._process:
            raise RuntimeError("log in the process that started the run, not in one forked from it")

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise ValueError(f"the name of a metric must be text of 1 to {LONGEST_NAME} characters")
        self._checked.add(name)

    def _at_exit(self) -> None:
        # Python notes the exception that ended the program, if one did.
        self.finish(_outcome_of(getattr(sys, "last_value", None)))

    def _work(self) -> None:
        """Write what is pending to the spool and send it, until the run has finished."""
        while not self._ending.wait(FLUSH_SECONDS):
            self._flush()
            self._sender.send()
        while not self._flush(self._outcome) and time.monotonic() < self._sender.deadline:
            time.sleep(FLUSH_SECONDS)
        self._sender.send(last=True)

    def _flush(self, last: Json | None = None) -> bool:
        """Write what is pending, and then ``last``; what cannot be written stays in memory. Whether all was written."""
        try:
            while self._pending or self._unwritten:
                self._unwritten = self._unwritten or self._next_part()
                self._spool.add(self._unwritten)
                self._unwritten = {}
            if last is not None:
                self._spool.add(last)
        except OSError as error:
            if not self._in_trouble:
                _say(f"cannot write {self._spool.path} ({error.strerror}); metrics wait in memory until that works")
            self._in_trouble = True
            return False
        self._in_trouble = False
        return True

    def _next_part(self) -> Json:
        """Take up to PART_POINTS pending points."""
        curves: dict[str, Json] = {}
        for _ in range(min(len(self._pending), PART_POINTS)):
            name, step, value, at = self._pending.popleft()
            curve = curves.get(name)
            if curve is None:
                curve = {"offset": self._counts.get(name, 0), "step": [], "value": [], "time": []}
                curves[name] = curve
            curve["step"].append(step)
            curve["value"].append(value if math.isfinite(value) else str(value))
            curve["time"].append(at)
        for name, curve in curves.items():
            self._counts[name] = curve["offset"] + len(curve["step"])
        return {"curves": curves}


def _run_name(head: Json) -> str:
    """The name of a run that is logged: its ID if its command names it."""
    return str(head["name"] or head["run"])


class _CommandRun:
    """The run of the command to which this process belongs. The first run that the process starts is that run."""

    _lock = threading.Lock()
    _joined_by = 0

    @classmethod
    def take(cls, url: str) -> str:
        """Its ID; "" if there is none on this server, or if this process has taken it before."""
        run = os.environ.get("RUNYARD_RUN_ID", "")
        if not run or os.environ.get("RUNYARD_URL", "").rstrip("/") != url.rstrip("/"):
            return ""
        with cls._lock:
            if cls._joined_by == os.getpid():
                return ""
            cls._joined_by = os.getpid()
        return run

    @classmethod
    def give_back(cls) -> None:
        """Let this process take it again, since it could not log to it."""
        cls._joined_by = 0


def _outcome_of(error: BaseException | None) -> Literal["succeeded", "failed", "cancelled"]:
    """The outcome of a program or a ``with`` block that ended by an exception, if it did."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "succeeded"
    return "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"the value of '{name}' must be one number, not {str(value)[:60]}") from error


class _Spool:
    """A file with the parts of a run that the server may not have yet: JSON, one part a line, after one on the run.

    It is locked as long as a program writes it.
    """

    def __init__(self, path: Path, writer: IO[bytes], url: str, head: Json) -> None:
        self.path = path
        self.url = url
        self.head = head
        self._lock = threading.Lock()
        self._writer = writer
        self._reader = path.open("rb")
        self._start = len(self._reader.readline())
        self._sent = self._start
        self._files = path.with_suffix(".files")
        self._copies = itertools.count()

    @classmethod
    def new(cls, folder: Path, url: str, head: Json) -> _Spool:
        """Begin the file of a run. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{head['key']}.jsonl"
        # It gets its name when it is locked and whole, so that no other program takes it for a left one.
        hidden = path.with_suffix(".new")
        writer = hidden.open("xb", buffering=0)
        _lock(writer)
        writer.write(json.dumps({"url": url, "head": head}).encode() + b"\n")
        hidden.rename(path)
        return cls(path, writer, url, head)

    @classmethod
    def left(cls, path: Path) -> _Spool | None:
        """Open the file of a program that has ended; None if it has not. Raises OSError, ValueError, LookupError."""
        writer = path.open("r+b", buffering=0)
        try:
            if _lock(writer):
                with path.open("rb") as reader:
                    about = json.loads(reader.readline())
                return cls(path, writer, about["url"], about["head"])
        except BaseException:
            # Whatever ended it: the lock goes with the file.
            writer.close()
            raise
        writer.close()
        return None

    def add(self, part: Json) -> None:
        """Append a part. Raises OSError and then appends nothing."""
        line = json.dumps(part, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            size = os.fstat(self._writer.fileno()).st_size
            written = 0
            try:
                while written < len(line):
                    written += self._writer.write(line[written:]) or 0
            except OSError:
                os.truncate(self.path, size)
                self._writer.seek(size)
                raise

    def add_file(self, name: str, copy: Callable[[Path], object]) -> None:
        """Append a file, of which ``copy`` writes a copy. Raises OSError."""
        self._files.mkdir(exist_ok=True)
        path = self._files / f"{os.getpid()}-{next(self._copies)}"
        copy(path)
        self.add({"file": name, "copy": path.name})

    def copy_of(self, part: Json) -> Path:
        """Where the copy of a file is."""
        return self._files / str(part["copy"])

    def next(self) -> tuple[Json, int] | None:
        """The next file, or the next parts as one, and where they end; None if all were sent.

        A last line without an end, as a crash leaves it, does not count.
        """
        found: Json = {}
        with self._lock:
            self._reader.seek(self._sent)
            end, points = self._sent, 0
            while points < PART_POINTS and (line := self._reader.readline()).endswith(b"\n"):
                part = json.loads(line)
                if "file" in part:
                    if end == self._sent:
                        return part, end + len(line)
                    break
                points += _add_part(found, part)
                end += len(line)
        return (found, end) if end > self._sent else None

    def sent(self, end: int) -> None:
        """Note that the server has all parts up to here. If it has all of a long file, the file is emptied."""
        with self._lock:
            self._sent = end
            if end > LONG_FILE_BYTES and end == os.fstat(self._writer.fileno()).st_size:
                os.truncate(self.path, self._start)
                self._writer.seek(self._start)
                self._sent = self._start
                # The buffer of the reader holds what was there.
                self._reader.close()
                self._reader = self.path.open("rb")

    def close(self, *, keep: bool) -> None:
        """Close the file, and delete it unless ``keep``."""
        if not keep:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self._files, ignore_errors=True)
        self._reader.close()
        self._writer.close()


def _add_part(whole: Json, part: Json) -> int:
    """Add a part to those before it; returns its number of points."""
    points = 0
    for name, curve in part.pop("curves", {}).items():
        points += len(curve["step"])
        earlier = whole.setdefault("curves", {}).setdefault(name, curve)
        if earlier is not curve:
            for array in ("step", "value", "time"):
                earlier[array] += curve[array]
    if "parameters" in part:
        whole["parameters"] = whole.get("parameters", {}) | part.pop("parameters")
    whole |= part
    return points


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False if another program has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Sender:
    """Sends the parts of a spool in their order, and says what goes wrong unless ``quiet``.

    ``refusal``: why the server accepts no more.
    """

    def __init__(self, spool: _Spool, options: Json, *, quiet: bool = False) -> None:
        self.url = str(options["base_url"])
        self.run = ""
        self.refusal: RunyardError | None = None
        self.deadline = math.inf
        self.all_sent = False
        self._spool = spool
        self._head = {name: value for name, value in spool.head.items() if name != "run"}
        self._joined = str(spool.head.get("run", ""))
        self._say: Callable[[str], None] = (lambda sentence: None) if quiet else _say
        self._http = httpx.Client(**options | {"timeout": httpx.Timeout(RESPONSE_SECONDS, connect=CONNECT_SECONDS)})
        self._pause = 0.0
        self._again = 0.0
        self._greeted = False

    def send(self, *, last: bool = False) -> None:
        """Send what is there. ``last``: try again until the deadline while the server does not respond."""
        while True:
            while self.refusal is None and time.monotonic() >= self._again and self._send_next():
                pass
            if self.all_sent or self.refusal is not None or not last or time.monotonic() >= self.deadline:
                break
            time.sleep(max(0.0, min(self._again, self.deadline) - time.monotonic()))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _send_next(self) -> bool:
        """Send the next part, if there is one; whether to go on."""
        found = self._spool.next()
        self.all_sent = found is None and self._greeted
        if found is None and self._greeted:
            return False
        part, end = found or ({}, None)
        try:
            if self._greeted and "file" in part:
                self._send_file(part)
            else:
                if "file" in part:
                    part, end = {}, None
                body = self._head | part
                call = _Call("POST", "/log", _as_is, body)
                if self._joined:
                    call = _Call("POST", f"/log/{quote(self._joined)}", _as_is, body)
                response = _read(self._http.request(**call.arguments()), self.url)
                self.run = response["id"]
                for warning in response.get("warnings", []):
                    self._say(warning)
        except (httpx.TransportError, RunyardError) as error:
            self._failed(error)
            return False
        self._pause, self._greeted = 0.0, True
        if end is not None:
            self._spool.sent(end)
        return True

    def _send_file(self, part: Json) -> None:
        """Send a file. One that the server refuses, such as one that is too large, is left out."""
        copy, name = self._spool.copy_of(part), str(part["file"])
        try:
            with copy.open("rb") as content:
                path = f"/api/v1/runs/{self.run}/files/{quote(name)}"
                size = os.fstat(content.fileno()).st_size
                timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, write=None)
                chunks = iter(functools.partial(content.read, 2**20), b"")
                headers = {"content-length": str(size)}
                _read(self._http.put(path, content=chunks, headers=headers, timeout=timeout), self.url)
        except FileNotFoundError:
            # It was sent before a crash.
            return
        except RunyardError as error:
            if error.status not in (400, 413, 422):
                raise
            self._say(f"{name} is not kept with the run: {error.detail}")
        copy.unlink(missing_ok=True)

    def _failed(self, error: httpx.TransportError | RunyardError) -> None:
        if isinstance(error, RunyardError) and 400 <= error.status < 500 and error.status not in (408, 425, 429):
            self.refusal = error
            self._say(f"the server accepts no more data of this run: {error.detail}. It is kept in {self._spool.path}.")
            return
        if not self._pause:
            self._say(f"{self.url} does not respond; metrics are kept in {self._spool.path} until it does.")
        self._pause = min(LONGEST_PAUSE_SECONDS, max(PAUSE_SECONDS, 2 * self._pause))
        self._again = time.monotonic() + self._pause


def _spool_folder() -> Path:
    """The folder of the files with what servers do not have yet."""
    chosen = os.environ.get("RUNYARD_SPOOL_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(chosen or f"{cache}/runyard/spool").expanduser()


def _send_spools(url: str, options: Json, run: str = "") -> Iterator[tuple[str, str]]:
    """Send what programs that have ended left for this server: the name of each run, and what went wrong or "".

    ``run``: only what belongs to this command's run.
    """
    for path in sorted(_spool_folder().glob("*.jsonl")):
        try:
            spool = _Spool.left(path)
        except FileNotFoundError:
            # Another program has just sent it.
            continue
        except (OSError, ValueError, LookupError) as error:
            yield path.stem, f"{path} cannot be read: {error}"
            continue
        if spool is None:
            continue
        if run and spool.head.get("run") != run:
            spool.close(keep=True)
            continue
        if spool.url != url:
            spool.close(keep=True)
            yield _run_name(spool.head), f"it was logged to {spool.url}; set RUNYARD_URL to send it there"
            continue
        sender = _Sender(spool, options, quiet=True)
        sender.deadline = 0.0
        sender.send(last=True)
        sender.close()
        spool.close(keep=not sender.all_sent)
        problem = f"{sender.url} does not respond" if sender.refusal is None else sender.refusal.detail
        yield _run_name(spool.head), "" if sender.all_sent else problem


def _send_left_parts(url: str, options: Json, run: str) -> None:
    """Send what killed programs of a command left; what goes wrong is left to `runyard sync`."""
    for _ in _send_spools(url, options, run):
        pass


def _logger_class() -> Any:
    """The class ``RunyardLogger``, made when it is first used: only it needs Lightning."""
    try:
        from lightning.fabric.loggers.logger import rank_zero_experiment
        from lightning.pytorch.loggers.logger import Logger
        from lightning.pytorch.utilities import rank_zero_only
    except ImportError:
        raise ImportError("RunyardLogger needs Lightning: pip install lightning") from None

    class RunyardLogger(Logger):
        """Logs what a Lightning module logs to Runyard: ``Trainer(logger=RunyardLogger("name"))``.

        Takes the arguments of ``Runyard.start`` and ``url``. The run ends with the program or with ``finish``, so that
        tests after a fit belong to it; a fit that fails ends it at once.
        """

        def __init__(self, name: str = "", *, url: str | None = None, **start: Any) -> None:
            super().__init__()
            self._name = name
            self._url = url
            self._start = start
            self._run: LoggedRun | None = None

        @property
        @rank_zero_experiment
        def experiment(self) -> LoggedRun:
            """The run, which starts when it is first used."""
            if self._run is None:
                with Runyard(self._url) as yard:
                    self._run = yard.start(self._name, **self._start)
            return self._run

        @property
        def name(self) -> str:
            """The run's name."""
            return self._name or "run"

        @property
        def version(self) -> str:
            """The run's ID; "" before it has started."""
            return self._run.id if self._run else ""

        @rank_zero_only
        def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
            """Log hyperparameters; those of nested settings with a slash in their name."""
            self.experiment.log_parameters(_flat(params))

        @rank_zero_only
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            """Log metrics at a step."""
            self.experiment.log(metrics, step)

        @rank_zero_only
        def finalize(self, status: str) -> None:
            """End the run if the fit failed."""
            if self._run is not None and status == "failed":
                self._run.finish("failed")

        @rank_zero_only
        def finish(self) -> None:
            """End the run."""
            if self._run is not None:
                self._run.finish()

    return RunyardLogger


def _flat(settings: Any, prefix: str = "") -> Json:
    """Settings by name; those within others have a slash in theirs."""
    flat: Json = {}
    for name, value in (settings if isinstance(settings, Mapping) else vars(settings)).items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


if TYPE_CHECKING:
    RunyardLogger: Any
else:

    def __getattr__(name: str) -> Any:
        if name != "RunyardLogger":
            raise AttributeError(f"module 'runyard' has no attribute '{name}'")
        globals()[name] = found = _logger_class()
        return found


# Clients --------------------------------------------------------------------------------------------------------------


def credentials_file() -> Path:
    """The file in which `runyard login` stores tokens: RUNYARD_CREDENTIALS, else in ~/.config/runyard."""
    chosen = os.environ.get("RUNYARD_CREDENTIALS")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "runyard" / "credentials.json"


def read_credentials() -> dict[str, str]:
    """Stored tokens by the server's URL. Raises RunyardError if others can read the file, or it is damaged."""
    path = credentials_file()
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise RunyardError(f"{path} must be readable by you alone (chmod 600)")
            stored = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise RunyardError(f"cannot read {path}: {error}") from error
    if not isinstance(stored, dict) or not all(isinstance(token, str) for token in stored.values()):
        raise RunyardError(f"{path} is damaged; delete it and run `runyard login`")
    return stored


def stored_token(url: str) -> str | None:
    """The token for a server: RUNYARD_TOKEN, else what `runyard login` has stored. Raises RunyardError."""
    return os.environ.get("RUNYARD_TOKEN") or read_credentials().get(url.rstrip("/"))


class _Api(Generic[RunT, SweepT, ImportT]):
    """The requests of both clients."""

    def __init__(self, url: str | None = None, token: str | None = None, *, auth: httpx.Auth | None = None) -> None:
        """``url``: default RUNYARD_URL, else http://127.0.0.1:8000.

        ``token``: default RUNYARD_TOKEN, else what `runyard login` has stored for this URL; ``auth``: in its place.
        """
        self.url = (url or os.environ.get("RUNYARD_URL") or "http://127.0.0.1:8000").rstrip("/")
        token = token or (stored_token(self.url) if auth is None else None)
        host = _host(self.url)
        self._options: Json = {
            "base_url": self.url,
            "headers": {"authorization": f"Bearer {token}"} if token else {},
            "auth": auth,
            "timeout": httpx.Timeout(ANSWER_SECONDS, connect=10.0),
            # A proxy cannot reach this machine's loopback addresses.
            "trust_env": host not in ("localhost", "127.0.0.1", "::1"),
        }
        if not self._options["trust_env"] and self.url.startswith("http:"):
            # Loading the certificate authorities takes 60 ms of CPU time, and nothing here is encrypted.
            self._options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def _run(self, data: Json) -> RunT:
        raise NotImplementedError

    def _sweep(self, data: Json) -> SweepT:
        raise NotImplementedError

    def _import(self, data: Json) -> ImportT:
        raise NotImplementedError

    @_request
    def launch(self, /, *, idempotency_key: str | None = None, **spec: Any) -> _Call[RunT]:
        """Launch a run with the fields of the launch form; only ``family`` or ``preset`` is required.

        Retrying after a broken connection never launches the run twice. Raises RunyardError with all invalid fields.
        """
        return _Call("POST", "/runs", self._run, spec, key=idempotency_key or _new_key())

    @_request
    def preview(self, /, **spec: Any) -> _Call[Json]:
        """Preview a run without launching it: parameters, operations, memory, time per epoch."""
        return _Call("POST", "/preview", _as_is, spec)

    @_request
    def import_run(self, /, **fields: Any) -> _Call[Json]:
        """Import a run, or a part of one, that was recorded elsewhere; points already imported are skipped.

        /docs lists the fields.
        """
        return _Call("POST", "/import", _as_is, fields, key=str(fields.get("key", "")))

    @_request
    def upload(self, /, run: str | int | RunT, path: str, content: bytes) -> _Call[None]:
        """Keep a file with a run that a program logged or that was imported; one with the same path is replaced."""
        return _Call("PUT", f"/runs/{_id(run)}/files/{quote(path)}", _as_is, content=content)

    def start(
        self,
        name: str = "",
        *,
        experiment: str = "",
        parameters: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
    ) -> LoggedRun:
        """Start a run that this program trains. ``name``: default the program's. ``experiment``: default "Scripts".

        In a command of `runyard exec`, the first run that a process starts is the command's; what was given to
        `runyard exec` stays, and what is given here is added.

        A server that does not respond is waited for in the background. Raises RunyardError if it refuses the run, and
        OSError if nothing can be written to the folder RUNYARD_SPOOL_DIR, by default ~/.cache/runyard/spool.
        """
        source = sys.argv[0] if sys.argv else ""
        head: Json = {"key": secrets.token_hex(16), "user": _user(), "source": source[:500], "tags": list(tags)}
        command_run = _CommandRun.take(self.url)
        if command_run:
            head |= {"run": command_run, "experiment": experiment, "name": name}
        else:
            name = name or Path(source).stem or "run"
            head |= {"experiment": experiment or "Scripts", "name": name, "started": time.time()}
        try:
            run = LoggedRun(self.url, head, self._options)
        except BaseException:
            if command_run:
                _CommandRun.give_back()
            raise
        if parameters:
            run.log_parameters(parameters)
        return run

    def sync(self) -> Iterator[tuple[str, str]]:
        """Send what programs that have ended could not send; yields the name of each run, and what went wrong or ""."""
        return _send_spools(self.url, self._options)

    @_request
    def run(self, /, run: str | int) -> _Call[RunT]:
        """Get the run with this ID or number."""
        return _Call("GET", f"/runs/{run}", self._run)

    @_request
    def page(self, /, after: str | None = None, limit: int = 50, **where: Any) -> _Call[tuple[list[RunT], str | None]]:
        """Get a page of runs, and ``after`` for the next page; ``where``: the filters of ``runs``."""
        query = {**where, "after": after, "limit": limit}
        return _Call(
            "GET", "/runs", lambda page: ([self._run(data) for data in page["runs"]], page["next"]), None, query
        )

    @_request
    def cancel(
        self, /, runs: Sequence[str | RunT] = (), *, sweep: str | None = None, queued: bool = False
    ) -> _Call[dict[str, list[str]]]:
        """Cancel these runs, a whole sweep, or all queued runs. Returns {"cancelled": ids, "stopping": ids}."""
        body: Json = {"queued": True} if queued else {"sweep": sweep} if sweep else {"runs": [_id(run) for run in runs]}
        return _Call("POST", "/runs/cancel", _as_is, body)

    @_request
    def sweep(
        self,
        /,
        base: Mapping[str, Any],
        grid: Mapping[str, Sequence[Any]] | None = None,
        space: Mapping[str, Any] | None = None,
        seeds: int | None = None,
        method: str | None = None,
        draws: int | None = None,
        **more: Any,
    ) -> _Call[SweepT]:
        """Launch a sweep.

        It trains every combination of ``grid``, or ``draws`` configurations drawn from ``space``, each with ``seeds``
        seeds. ``method``: grid, random or tpe; ``more``: metric, direction, pruning, name, tags.
        """
        body = {"base": dict(base)} | _not_none(grid=grid, space=space, seeds=seeds, method=method, draws=draws, **more)
        return _Call("POST", "/sweeps", self._sweep, body, key=_new_key())

    @_request
    def find_sweep(self, /, sweep: str) -> _Call[SweepT]:
        """Get the sweep with this id."""
        return _Call("GET", f"/sweeps/{sweep}", self._sweep)

    @_request
    def sweeps(self, /, limit: int = 50, after: int | None = None) -> _Call[list[SweepT]]:
        """List sweeps, newest first, without details (see refresh()); ``after``: only sweeps with a lower number."""
        query = {"limit": limit, "after": after}
        return _Call("GET", "/sweeps", lambda page: [self._sweep(data) for data in page["sweeps"]], None, query)

    @_request
    def queue(self, /, limit: int | None = None, after: str | None = None) -> _Call[Json]:
        """Get the queue: whether it is paused, and its runs in order, with reason and expected start."""
        return _Call("GET", "/queue", _as_is, None, {"limit": limit, "after": after})

    @_request
    def disks(self, /) -> _Call[Json]:
        """List the disks of the server and of connected workers, with their free space in bytes."""
        return _Call("GET", "/disks", _as_is)

    @_request
    def pause_queue(self, /) -> _Call[Json]:
        """Pause the queue. No more runs start; active runs continue."""
        return _Call("POST", "/queue/pause", _as_is)

    @_request
    def resume_queue(self, /) -> _Call[Json]:
        """Resume the queue."""
        return _Call("POST", "/queue/resume", _as_is)

    @_request
    def move(
        self, /, run: str | RunT, to: str | None = None, *, before: str | None = None, after: str | None = None
    ) -> _Call[Json]:
        """Move a queued run ``to`` first, last, up or down, or before or after another run. Returns {"position"}."""
        return _Call("POST", "/queue/move", _as_is, {"run": _id(run)} | _not_none(to=to, before=before, after=after))

    @_request
    def programs(self, /) -> _Call[list[Json]]:
        """List the programs that the server's owner offers, with their fields."""
        return _Call("GET", "/programs", lambda response: list(response["programs"]))

    @_request
    def launch_program(
        self,
        /,
        program: str,
        values: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> _Call[list[RunT]]:
        """Launch a program with values for its fields; those left out have their defaults.

        ``fields``: seeds, name, tags, notes, priority and device. Returns a run for each seed. Retrying after a broken
        connection launches nothing twice. Raises RunyardError with all invalid fields.
        """
        name = quote(program, safe="")
        body = {"values": dict(values or {}), **fields}

        def read(response: Json) -> list[RunT]:
            return [self._run(run) for run in response["runs"]]

        return _Call("POST", f"/programs/{name}/runs", read, body, key=idempotency_key or _new_key())

    @_request
    def sweep_program(
        self,
        /,
        program: str,
        values: Mapping[str, Any] | None = None,
        *,
        grid: Mapping[str, Sequence[Any]] | None = None,
        space: Mapping[str, Any] | None = None,
        seeds: int | None = None,
        method: str | None = None,
        draws: int | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> _Call[SweepT]:
        """Launch a sweep over fields of a program; ``values`` are those of other fields.

        It tries every combination of ``grid``, or ``draws`` configurations drawn from ``space``, each with ``seeds``
        seeds. ``method``: grid, random or tpe; ``more``: metric, direction, pruning, and name, tags, notes, priority
        and device of the runs. Raises RunyardError with all invalid fields.
        """
        runs: Json = {name: more.pop(name) for name in ("name", "tags", "notes", "priority", "device") if name in more}
        sweep = _not_none(grid=grid, space=space, seeds=seeds, method=method, draws=draws, **more)
        body: Json = {"values": dict(values or {}), "sweep": sweep, **runs}
        key = idempotency_key or _new_key()
        return _Call("POST", f"/programs/{quote(program, safe='')}/sweeps", self._sweep, body, key=key)

    @_request
    def architectures(self, /) -> _Call[list[Json]]:
        """List all families and sizes with their exact parameter counts."""
        return _Call("GET", "/architectures", lambda response: list(response["architectures"]))

    @_request
    def datasets(self, /) -> _Call[list[Json]]:
        """List all datasets with their targets."""
        return _Call("GET", "/datasets", lambda response: list(response["datasets"]))

    @_request
    def dataset(self, /, name: str) -> _Call[Json]:
        """Get a dataset: its state, its facts, its versions, and what was found when it was imported."""
        name = quote(name, safe="")
        return _Call("GET", f"/datasets/{name}", _as_is)

    @_request
    def add_dataset(
        self,
        /,
        name: str,
        source: str | os.PathLike[str],
        *,
        keep: bool = True,
        on_server: bool = False,
        **options: Any,
    ) -> _Call[ImportT]:
        """Import images as a dataset: a folder, an archive or a table. Returns the import once all is uploaded.

        ``options``: side, color, fit, classes, validation_share, test_share, seed. ``keep=False`` stops at a preview.
        ``on_server``: the path is on the server's machine. `wait` of the import waits until runs can use the dataset.
        """
        form = {"name": name, "keep": str(keep).lower(), "options": json.dumps(options)}
        if on_server:
            return _Call("POST", "/datasets", self._import, form=form | {"path": str(source)})
        return _Call("POST", "/datasets", self._import, form=form, files=_files(Path(source).expanduser()))

    @_request
    def recipes(self, /) -> _Call[list[Json]]:
        """List all recipes with their settings."""
        return _Call("GET", "/recipes", lambda response: list(response["recipes"]))

    @_request
    def presets(self, /) -> _Call[dict[str, Json]]:
        """Get all presets as a dict by name."""
        return _Call("GET", "/presets", lambda response: dict(response["presets"]))

    @_request
    def models(self, /) -> _Call[list[Json]]:
        """List all models: names that point to the best checkpoint of a run, with their history."""
        return _Call("GET", "/models", lambda response: list(response["models"]))

    @_request
    def set_model(self, /, name: str, run: str | int | RunT, by: str = "") -> _Call[Json]:
        """Let a name such as digits-production point to a run's best checkpoint; one that exists moves."""
        name = quote(name, safe="")
        return _Call("PUT", f"/models/{name}", _as_is, {"run": _id(run)} | ({"by": by} if by else {}))

    @_request
    def delete_model(self, /, name: str) -> _Call[None]:
        """Remove a name; the run stays."""
        name = quote(name, safe="")
        return _Call("DELETE", f"/models/{name}", lambda _: None)

    @_request
    def predict(
        self, /, model: str, pictures: Sequence[Any], *, center: str = "auto", top: int = 0
    ) -> _Call[list[Prediction]]:
        """Predict the classes of pictures with the run that a model's name points to now; see `Run.predict`."""
        model = quote(model, safe="")
        query = {"center": center, "top": top}
        return _Call("POST", f"/models/{model}/predict", _predictions, _pictures(pictures), query)

    @_request
    def workers(self, /) -> _Call[list[Json]]:
        """List connected workers."""
        return _Call("GET", "/workers", lambda response: list(response["workers"]))

    @_request
    def ask(self, /, method: str, path: str, body: Any = None, **query: Any) -> _Call[Any]:
        """Send any other API request (``path`` without /api/v1) and return the response's JSON."""
        return _Call(method, path, _as_is, body, query)

    @_request
    def compare(self, /, runs: Sequence[str | int | RunT], by: str = "variant") -> _Call[Comparison]:
        """Compare runs: means over seeds, with 95% intervals.

        ``by``: group by variant (all settings that affect the result, except the seed), none, or comma-separated
        settings.
        """
        ids = ",".join(_id(run) for run in runs)

        def read(response: Json) -> Comparison:
            groups = [
                Group(data["title"], data["runs"], {name: _figure(entry) for name, entry in data["figures"].items()})
                for data in response["groups"]
            ]
            return Comparison(groups, response["sentence"] or "", f"{self.url}/compare?runs={ids}&by={by}")

        return _Call("GET", "/compare", read, None, {"runs": ids, "by": by})


class Runyard(_Sync, _Api[Run, Sweep, DatasetImport]):
    """Client of a Runyard server. Every method can raise RunyardError."""

    def __init__(self, url: str | None = None, token: str | None = None, *, auth: httpx.Auth | None = None) -> None:
        super().__init__(url, token, auth=auth)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> Runyard:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _run(self, data: Json) -> Run:
        return Run(self, data)

    def _sweep(self, data: Json) -> Sweep:
        return Sweep(self, data)

    def _import(self, data: Json) -> DatasetImport:
        return DatasetImport(self, data)

    def _send(self, call: _Call[T]) -> T:
        for attempt in range(call.attempts):
            try:
                response = self._http.request(**call.arguments())
            except httpx.TransportError as error:
                if attempt + 1 == call.attempts:
                    raise _not_responding(self.url) from error
                time.sleep(PAUSE_SECONDS * attempt)
            else:
                return call.read(_read(response, self.url))
        raise AssertionError("the last attempt returns or raises")

    def _events(self, stream: _Stream) -> Iterator[tuple[str, Any]]:
        while not stream.ended:
            try:
                with self._http.stream(**stream.request()) as response:
                    if response.status_code != 200:
                        response.read()
                        _read(response, self.url)
                    for line in response.iter_lines():
                        if (event := stream.take(line)) is not None:
                            yield event
            except (httpx.TransportError, RunyardError) as error:
                stream.broken(error, self.url)
            if not stream.ended:
                time.sleep(PAUSE_SECONDS)

    def changes(self, timeout: float | None = None) -> Iterator[None]:
        """Yield once at the start, and whenever a run or worker may have changed.

        Raises TimeoutError after ``timeout`` seconds.
        """
        return (None for _ in self._events(_Stream("/events", None, timeout, "no change")))

    def runs(self, limit: int | None = None, **where: Any) -> Iterator[Run]:
        """Iterate over runs. ``where``: status, family, size, dataset, tag, number (one value or a list), q, sort."""
        after: str | None = None
        left = math.inf if limit is None else limit
        while left > 0:
            runs, after = self.page(after, int(min(left, PAGE_RUNS)), **where)
            yield from runs
            left = left - len(runs) if after else 0


class AsyncRunyard(_Async, _Api[AsyncRun, AsyncSweep, AsyncDatasetImport]):
    """Asynchronous client of a Runyard server. Every method can raise RunyardError."""

    def __init__(self, url: str | None = None, token: str | None = None, *, auth: httpx.Auth | None = None) -> None:
        super().__init__(url, token, auth=auth)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> AsyncRunyard:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def _run(self, data: Json) -> AsyncRun:
        return AsyncRun(self, data)

    def _sweep(self, data: Json) -> AsyncSweep:
        return AsyncSweep(self, data)

    def _import(self, data: Json) -> AsyncDatasetImport:
        return AsyncDatasetImport(self, data)

    async def _send(self, call: _Call[T]) -> T:
        for attempt in range(call.attempts):
            try:
                response = await self._http.request(**call.arguments())
            except httpx.TransportError as error:
                if attempt + 1 == call.attempts:
                    raise _not_responding(self.url) from error
                await asyncio.sleep(PAUSE_SECONDS * attempt)
            else:
                return call.read(_read(response, self.url))
        raise AssertionError("the last attempt returns or raises")

    async def _events(self, stream: _Stream) -> AsyncIterator[tuple[str, Any]]:
        while not stream.ended:
            try:
                async with self._http.stream(**stream.request()) as response:
                    if response.status_code != 200:
                        await response.aread()
                        _read(response, self.url)
                    async for line in response.aiter_lines():
                        if (event := stream.take(line)) is not None:
                            yield event
            except (httpx.TransportError, RunyardError) as error:
                stream.broken(error, self.url)
            if not stream.ended:
                await asyncio.sleep(PAUSE_SECONDS)

    async def changes(self, timeout: float | None = None) -> AsyncIterator[None]:
        """See Runyard.changes."""
        async for _ in self._events(_Stream("/events", None, timeout, "no change")):
            yield None

    async def runs(self, limit: int | None = None, **where: Any) -> AsyncIterator[AsyncRun]:
        """See Runyard.runs."""
        after: str | None = None
        left = math.inf if limit is None else limit
        while left > 0:
            runs, after = await self.page(after, int(min(left, PAGE_RUNS)), **where)
            for run in runs:
                yield run
            left = left - len(runs) if after else 0


# Event streams --------------------------------------------------------------------------------------------------------


class _Stream:
    """State of an event stream: the next request, the parser of its lines, and the time limit.

    Besides the server's events, ``take`` returns the event ``here``: when the server has subscribed to changes, and for
    each line that it sends to keep the connection open.
    """

    def __init__(self, path: str, after: str | None = None, seconds: float | None = None, subject: str = "") -> None:
        self.path = f"/api/v1{path}"
        self.last = after
        self.ended = False
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._timeout_message = f"{subject} within {seconds:g} s" if seconds is not None else ""
        self._last_line = time.monotonic()
        self._event = self._id = ""
        self._data: list[str] = []

    def request(self) -> Json:
        """Return the arguments for httpx."""
        self._event, self._id, self._data = "", "", []
        left = SILENCE_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        timeout = httpx.Timeout(10.0, read=max(0.01, min(left, SILENCE_SECONDS)))
        headers = {} if self.last is None else {"last-event-id": self.last}
        return {"method": "GET", "url": self.path, "headers": headers, "timeout": timeout}

    def take(self, line: str) -> tuple[str, Any] | None:
        """Return the event that a line completes. Its id counts only then: a partial event is requested again."""
        self._check_time()
        self._last_line = time.monotonic()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)
        elif not line and self._event:
            event, data = self._event, json.loads("\n".join(self._data) or "null")
            self.last = self._id or self.last
            self._event, self._id, self._data = "", "", []
            self.ended = event == "end"
            return event, data
        elif not name or name == "retry":
            return "here", None
        return None

    def broken(self, error: httpx.TransportError | RunyardError, url: str) -> None:
        """Raise an error that waiting cannot fix: a refusal, an absent server, an expired time limit."""
        self._check_time()
        if isinstance(error, RunyardError):
            if error.status != 503:
                raise error
        elif time.monotonic() - self._last_line > PATIENCE_SECONDS:
            raise _not_responding(url) from error

    def _check_time(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutError(self._timeout_message)


class _Unseen:
    """Filter for points and log lines that were not returned yet: each point of a metric once.

    Points of a run that Runyard trains are returned by increasing step, since a restart repeats steps. With
    ``any_order``, points of a script are returned in the order in which they come.
    """

    def __init__(self, names: Sequence[str] | None = None, any_order: bool = False) -> None:
        self.names = None if names is None else set(names)
        self.any_order = any_order
        self._steps: dict[str, int] = {}
        self._points: set[tuple[str, int, float | None, float]] = set()
        self._line = 0

    def points(self, curves: Mapping[str, Any]) -> list[Point]:
        """Return the new points, in the order of their times."""
        points: list[Point] = []
        for name, curve in curves.items():
            if self.names is not None and name not in self.names:
                continue
            last = self._steps.get(name)
            for step, value, timestamp in zip(curve["step"], curve["value"], curve["time"], strict=True):
                if not self._is_new(name, step, value, timestamp, last):
                    continue
                points.append(Point(name, step, math.nan if value is None else value, timestamp))
                last = step
            if last is not None:
                self._steps[name] = last
        return sorted(points, key=lambda point: point.time)

    def _is_new(self, name: str, step: int, value: float | None, timestamp: float, last: int | None) -> bool:
        if not self.any_order:
            return last is None or step > last
        known = len(self._points)
        self._points.add((name, step, value, timestamp))
        return len(self._points) > known

    def lines(self, entries: Iterable[Mapping[str, Any]]) -> list[LogLine]:
        """Return lines after the last one."""
        lines = [LogLine(*(entry[name] for name in LogLine._fields)) for entry in entries if entry["id"] > self._line]
        self._line = lines[-1].id if lines else self._line
        return lines


# Reading of responses -------------------------------------------------------------------------------------------------


def _read(response: httpx.Response, url: str) -> Any:
    """Return the JSON of a response. Raises RunyardError with the server's message if it is an error."""
    try:
        content: Any = response.json() if response.content else None
        if response.is_success:
            return content
        errors = [FieldProblem(problem["field"], problem["message"]) for problem in content.get("errors", [])]
        raise RunyardError(str(content["detail"]), response.status_code, errors)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"unexpected response from {url} (HTTP {response.status_code}): it is not a Runyard server"
        hint = "" if response.is_success else ", or a proxy answered instead"
        raise RunyardError(message + hint, response.status_code) from error


def _not_responding(url: str) -> RunyardError:
    hint = "start one with `runyard up`; if it has another address, set RUNYARD_URL=http://HOST:PORT or pass its url"
    return RunyardError(f"cannot connect to a Runyard server at {url}; {hint}")


def _say(sentence: str) -> None:
    # Nobody may be there to read it, or the stream may be closed: what is logged is kept and sent nevertheless.
    with suppress(OSError, ValueError):
        print(f"runyard: {sentence}", file=sys.stderr)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # Containers may run as a user without a name.
        return ""


def _host(url: str) -> str:
    invalid = RunyardError(f"invalid server URL '{url[:100]}'; example: http://127.0.0.1:8000")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise invalid from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise invalid
    return parts.hostname


def _figure(data: Json) -> Figure:
    return Figure(data["mean"], data["half"], data["values"], data["best"])


def _change(data: Json) -> Change:
    kind, value, state = data["kind"], data["value"], data["state"]
    return Change(data["id"], kind, value, state, data["step"], data["reason"], data["sentence"], data)


def _curves(curves: Json) -> dict[str, Curve]:
    try:
        import numpy
    except ImportError:
        nan = math.nan
        return {
            name: Curve(curve["step"], [nan if value is None else value for value in curve["value"]], curve["time"])
            for name, curve in curves.items()
        }
    return {
        name: Curve(
            numpy.array(curve["step"], dtype=numpy.int64),
            numpy.array(curve["value"], dtype=numpy.float64),
            numpy.array(curve["time"], dtype=numpy.float64),
        )
        for name, curve in curves.items()
    }


def _pandas() -> Any:
    try:
        import pandas  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError("frame() needs pandas: pip install pandas") from error
    return pandas


# The program ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run the `runyard` program, as `python -m runyard` does. It needs more than a copy of this file."""
    try:
        from _runyard import main as run
    except ModuleNotFoundError:
        sys.exit(
            "runyard: only the Python client is available here. Install Runyard to use its commands; see the README."
        )
    run()


if __name__ == "__main__":
    main()

"""Launch, watch and compare training runs of a Runyard from Python. It needs httpx and nothing else of Runyard.

    from runyard import Runyard

    yard = Runyard()
    run = yard.launch(family="simple_cnn", dataset="digits", epochs=3).wait()
    print(run.status, run.figure("test/acc"))

``AsyncRunyard`` has the same methods, to be awaited; what iterates is iterated with ``async for``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, cast, overload
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "AsyncRun",
    "AsyncRunyard",
    "AsyncSweep",
    "Change",
    "Comparison",
    "Curve",
    "FieldProblem",
    "Figure",
    "Group",
    "LogLine",
    "Point",
    "Run",
    "Runyard",
    "RunyardError",
    "Sweep",
]

ENDED = ("succeeded", "failed", "cancelled")
# Of a whole answer: the first of a new server may wait until the networks have been looked at. And the longest silence
# of a stream, which says something every 15 s.
ANSWER_SECONDS = 120.0
SILENCE_SECONDS = 45.0
# A server that is started again is waited for so long, and asked again after such pauses.
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.5
ATTEMPTS = 3
PAGE_RUNS = 200
# The id of an event that none has reached: a stream after it tells only what is new.
FROM_NOW = str(2**63 - 1)

P = ParamSpec("P")
T = TypeVar("T")
RunT = TypeVar("RunT", bound="_RunBase[Any]")
SweepT = TypeVar("SweepT", bound="_SweepBase[Any, Any]")
Json = dict[str, Any]


# What is told --------------------------------------------------------------------------------------------------------


class FieldProblem(NamedTuple):
    """One thing wrong with one field of what was sent."""

    field: str
    message: str


class RunyardError(Exception):
    """The server refused, or there is none: ``detail`` says why, ``status`` is the HTTP status, 0 without an answer."""

    def __init__(self, detail: str, status: int = 0, errors: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.errors = list(errors)


class Point(NamedTuple):
    """One value of one metric; NaN where it was not finite. ``time`` in seconds since 1970, UTC."""

    metric: str
    step: int
    value: float
    time: float


class LogLine(NamedTuple):
    """One line of a run's log; ``time`` in seconds since 1970, UTC."""

    id: int
    time: float
    level: str
    text: str
    attempt: int


class Change(NamedTuple):
    """A change of a run that trains: waiting until it is applied at a step, or refused, or late; ``data`` says all."""

    id: int
    kind: str
    value: int | float | str | None
    state: str
    step: int | None
    reason: str
    sentence: str
    data: Json


class Curve(NamedTuple):
    """A curve: numpy arrays where numpy is there, else lists. Values that were not finite are NaN."""

    step: Any
    value: Any
    time: Any


class Figure(NamedTuple):
    """Mean of a figure over the runs of a group; ``half`` is half of its 95 % interval, None for a single run."""

    mean: float
    half: float | None
    values: list[float]
    best: bool

    def __str__(self) -> str:
        digits = 4 if abs(self.mean) < 10 else 1 if abs(self.mean) < 1000 else 0
        mean = f"{self.mean:,.{digits}f}"
        return mean if self.half is None else f"{mean} ± {self.half:,.{digits}f}"


class Group(NamedTuple):
    """Runs that differ in nothing but their seed, and their figures by name."""

    title: str
    runs: list[str]
    figures: dict[str, Figure]

    @property
    def seeds(self) -> int:
        """How many of its runs count: of the same training done twice, one; all while none has a figure."""
        return max((len(each.values) for each in self.figures.values()), default=len(self.runs))


def _figure_words(name: str, figure: Figure | None) -> str:
    """A figure with its unit: accuracies in percent, durations in seconds, and whole numbers as such."""
    if figure is None:
        return "–"
    if name.endswith("acc"):
        mean = f"{100 * figure.mean:.2f}"
        return f"{mean} %" if figure.half is None else f"{mean} ± {100 * figure.half:.2f} %"
    if name == "duration":
        mean = f"{figure.mean:,.1f}"
        return f"{mean} s" if figure.half is None else f"{mean} ± {figure.half:,.1f} s"
    if not figure.half and float(figure.mean).is_integer():
        return f"{figure.mean:,.0f}"
    return str(figure)


@dataclass(frozen=True)
class Comparison:
    """Groups of runs side by side, in the order of their first runs; prints as a table.

    ``sentence`` says whether the best one is really better than the next, ``url`` is the page that shows the same.
    """

    groups: list[Group]
    sentence: str
    url: str

    @property
    def names(self) -> list[str]:
        """The figures that any group has."""
        return list(dict.fromkeys(name for group in self.groups for name in group.figures))

    def table(self) -> list[list[str]]:
        """Rows of words, the header first."""
        rows = [
            [group.title, str(group.seeds), *(_figure_words(name, group.figures.get(name)) for name in self.names)]
            for group in self.groups
        ]
        return [["runs alike but for the seed", "n", *self.names], *rows]

    def __str__(self) -> str:
        rows = self.table()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *([self.sentence] if self.sentence else [])])


# Requests, described once and sent by either client ------------------------------------------------------------------


@dataclass(frozen=True)
class _Call(Generic[T]):
    """One request, and what its answer is read as. With a ``key`` it may be sent again when a connection broke."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""

    @property
    def attempts(self) -> int:
        return ATTEMPTS if self.key or self.method == "GET" else 1

    def arguments(self) -> Json:
        """What httpx is asked for."""
        said: Json = {
            "method": self.method,
            "url": f"/api/v1{self.path}",
            "params": {name: value for name, value in self.query.items() if value is not None},
            "headers": {"idempotency-key": self.key} if self.key else {},
        }
        return said | ({} if self.body is None else {"json": self.body})


class _Now:
    """Whose requests are sent at once."""

    def _send(self, call: _Call[T]) -> T:
        raise NotImplementedError


class _Later:
    """Whose requests are awaited."""

    async def _send(self, call: _Call[T]) -> T:
        raise NotImplementedError


class _NowBy(_Now):
    _client: Runyard

    def _send(self, call: _Call[T]) -> T:
        return self._client._send(call)


class _LaterBy(_Later):
    _client: AsyncRunyard

    async def _send(self, call: _Call[T]) -> T:
        return await self._client._send(call)


class _request(Generic[P, T]):  # noqa: N801
    """A method that is one request: it returns what is read from the answer, on an Async class a coroutine of that."""

    def __init__(self, describe: Callable[Concatenate[Any, P], _Call[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, on: _Now, kind: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, on: _Later, kind: Any = None) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, on: None, kind: Any = None) -> Callable[Concatenate[Any, P], _Call[T]]: ...
    def __get__(self, on: Any, kind: Any = None) -> Any:
        if on is None:  # of a class, for help()
            return self._describe

        def ask(*arguments: P.args, **named: P.kwargs) -> Any:
            return on._send(self._describe(on, *arguments, **named))

        return functools.update_wrapper(ask, self._describe)


def _same(said: Any) -> Any:
    return said


def _given(**said: Any) -> Json:
    return {name: value for name, value in said.items() if value is not None}


def _id(run: Any) -> str:
    return run if isinstance(run, str) else str(run.id)


class _Api(Generic[RunT, SweepT]):
    """Every request of both clients."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        """``url`` is by default that of RUNYARD_URL, else http://127.0.0.1:8000; ``token`` that of RUNYARD_TOKEN."""
        self.url = (url or os.environ.get("RUNYARD_URL") or "http://127.0.0.1:8000").rstrip("/")
        token = token or os.environ.get("RUNYARD_TOKEN")
        host = _host(self.url)
        self._options: Json = {
            "base_url": self.url,
            "headers": {"authorization": f"Bearer {token}"} if token else {},
            "timeout": httpx.Timeout(ANSWER_SECONDS, connect=10.0),
            # A proxy for the world outside cannot reach this machine's own addresses.
            "trust_env": host not in ("localhost", "127.0.0.1", "::1"),
        }

    def _run(self, said: Json) -> RunT:
        raise NotImplementedError

    def _sweep(self, said: Json) -> SweepT:
        raise NotImplementedError

    @_request
    def launch(self, /, *, idempotency_key: str | None = None, **spec: Any) -> _Call[RunT]:
        """Queue a run; the fields are those of the form, ``family`` or ``preset`` the only one that is needed.

        A connection that breaks never launches twice. Raises RunyardError that names each field that is wrong.
        """
        return _Call("POST", "/runs", self._run, spec, key=idempotency_key or secrets.token_urlsafe(16))

    @_request
    def preview(self, /, **spec: Any) -> _Call[Json]:
        """What a run would be and cost, without launching it: parameters, operations, memory, time for an epoch."""
        return _Call("POST", "/preview", _same, spec)

    @_request
    def import_run(self, /, **said: Any) -> _Call[Json]:
        """Bring in a run, or a part of one, that was recorded elsewhere; fields as /docs shows. Each point once."""
        return _Call("POST", "/import", _same, said, key=str(said.get("key", "")))

    @_request
    def run(self, /, run: str) -> _Call[RunT]:
        """The run with this id."""
        return _Call("GET", f"/runs/{run}", self._run)

    @_request
    def page(self, /, after: str | None = None, limit: int = 50, **where: Any) -> _Call[tuple[list[RunT], str | None]]:
        """One page of runs, and what to give as ``after`` for the next one; ``where`` as for ``runs``."""
        query = {**where, "after": after, "limit": limit}
        return _Call(
            "GET", "/runs", lambda said: ([self._run(each) for each in said["runs"]], said["next"]), None, query
        )

    @_request
    def cancel(
        self, /, runs: Sequence[str | RunT] = (), *, sweep: str | None = None, queued: bool = False
    ) -> _Call[dict[str, list[str]]]:
        """Stop these runs, or a whole sweep, or all that are queued: {"cancelled": ids, "stopping": ids}."""
        body: Json = {"queued": True} if queued else {"sweep": sweep} if sweep else {"runs": [_id(run) for run in runs]}
        return _Call("POST", "/runs/cancel", _same, body)

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
        """Queue a run for every point of ``grid``, or for ``draws`` points of ``space``, each with ``seeds`` seeds.

        ``method``: grid, random or tpe; ``more``: metric, direction, pruning, name, tags.
        """
        body = {"base": dict(base)} | _given(grid=grid, space=space, seeds=seeds, method=method, draws=draws, **more)
        return _Call("POST", "/sweeps", self._sweep, body, key=secrets.token_urlsafe(16))

    @_request
    def find_sweep(self, /, sweep: str) -> _Call[SweepT]:
        """The sweep with this id."""
        return _Call("GET", f"/sweeps/{sweep}", self._sweep)

    @_request
    def sweeps(self, /, limit: int = 50, after: int | None = None) -> _Call[list[SweepT]]:
        """Sweeps in short, the newest first, of those with a number below ``after``; refresh() tells the rest."""
        query = {"limit": limit, "after": after}
        return _Call("GET", "/sweeps", lambda said: [self._sweep(each) for each in said["sweeps"]], None, query)

    @_request
    def queue(self, /, limit: int | None = None, after: str | None = None) -> _Call[Json]:
        """What waits, in order, each with the reason and the expected start; whether the queue is paused."""
        return _Call("GET", "/queue", _same, None, {"limit": limit, "after": after})

    @_request
    def pause_queue(self, /) -> _Call[Json]:
        """Let no further run start; those that train go on."""
        return _Call("POST", "/queue/pause", _same)

    @_request
    def resume_queue(self, /) -> _Call[Json]:
        """Let runs start again."""
        return _Call("POST", "/queue/resume", _same)

    @_request
    def move(
        self, /, run: str | RunT, to: str | None = None, *, before: str | None = None, after: str | None = None
    ) -> _Call[Json]:
        """Move a queued run ``to`` first, last, up or down, or to before or after another: {"position"}."""
        return _Call("POST", "/queue/move", _same, {"run": _id(run)} | _given(to=to, before=before, after=after))

    @_request
    def architectures(self, /) -> _Call[list[Json]]:
        """Every family and size with its exact parameter counts."""
        return _Call("GET", "/architectures", lambda said: list(said["architectures"]))

    @_request
    def datasets(self, /) -> _Call[list[Json]]:
        """Every dataset with its targets."""
        return _Call("GET", "/datasets", lambda said: list(said["datasets"]))

    @_request
    def recipes(self, /) -> _Call[list[Json]]:
        """Every recipe and what it sets."""
        return _Call("GET", "/recipes", lambda said: list(said["recipes"]))

    @_request
    def presets(self, /) -> _Call[dict[str, Json]]:
        """Every preset by name."""
        return _Call("GET", "/presets", lambda said: dict(said["presets"]))

    @_request
    def workers(self, /) -> _Call[list[Json]]:
        """Who is there to train."""
        return _Call("GET", "/workers", lambda said: list(said["workers"]))

    @_request
    def ask(self, /, method: str, path: str, body: Any = None, **query: Any) -> _Call[Any]:
        """Any other request of the API, ``path`` without /api/v1: what its answer says, as JSON."""
        return _Call(method, path, _same, body, query)

    @_request
    def compare(self, /, runs: Sequence[str | RunT], by: str = "variant") -> _Call[Comparison]:
        """Figures of these runs side by side, as means over the seeds of what is otherwise alike, with 95 % intervals.

        ``by``: variant (all settings but the seed), none, or names of settings by comma.
        """
        ids = ",".join(_id(run) for run in runs)

        def read(said: Json) -> Comparison:
            groups = [
                Group(each["title"], each["runs"], {name: _figure(each) for name, each in each["figures"].items()})
                for each in said["groups"]
            ]
            return Comparison(groups, said["sentence"] or "", f"{self.url}/compare?runs={ids}&by={by}")

        return _Call("GET", "/compare", read, None, {"runs": ids, "by": by})


class _Stream:
    """How far a stream of events was heard: what to ask for next, what a line of it means, and when to give up.

    ``here`` is given when the server has begun to listen, and at times later: what is not an event of its own.
    """

    def __init__(self, path: str, after: str | None = None, seconds: float | None = None, what: str = "") -> None:
        self.path = f"/api/v1{path}"
        self.last = after
        self.ended = False
        self._until = None if seconds is None else time.monotonic() + seconds
        self._late = f"{what} has not ended within {seconds:g} s" if seconds is not None else ""
        self._heard = time.monotonic()
        self._event = self._id = ""
        self._data: list[str] = []

    def request(self) -> Json:
        """What httpx is asked for."""
        self._event, self._id, self._data = "", "", []
        left = SILENCE_SECONDS if self._until is None else self._until - time.monotonic()
        timeout = httpx.Timeout(10.0, read=max(0.01, min(left, SILENCE_SECONDS)))
        headers = {} if self.last is None else {"last-event-id": self.last}
        return {"method": "GET", "url": self.path, "headers": headers, "timeout": timeout}

    def take(self, line: str) -> tuple[str, Any] | None:
        """The event that a line completes. Its id is remembered only now: half of one is asked for again."""
        self._check_time()
        self._heard = time.monotonic()
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
        """Raises what cannot be waited for: a refusal, a server that stays away, a time that is over."""
        self._check_time()
        if isinstance(error, RunyardError):
            if error.status != 503:
                raise error
        elif time.monotonic() - self._heard > PATIENCE_SECONDS:
            raise _absent(url) from error

    def _check_time(self) -> None:
        if self._until is not None and time.monotonic() > self._until:
            raise TimeoutError(self._late)


class _News:
    """What of a run's points and lines was not told yet: each point of a metric once, by rising steps."""

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.names = None if names is None else set(names)
        self._steps: dict[str, int] = {}
        self._line = 0

    def points(self, curves: Mapping[str, Any]) -> list[Point]:
        """Those after the last step of their metric, in the order of their times."""
        found: list[Point] = []
        for name, curve in curves.items():
            if self.names is not None and name not in self.names:
                continue
            reached = self._steps.get(name, -1)
            for step, value, moment in zip(curve["step"], curve["value"], curve["time"], strict=True):
                if step > reached:
                    found.append(Point(name, step, math.nan if value is None else value, moment))
                    reached = step
            self._steps[name] = reached
        return sorted(found, key=lambda point: point.time)

    def lines(self, said: Iterable[Mapping[str, Any]]) -> list[LogLine]:
        """Those after the last line."""
        found = [LogLine(*(line[name] for name in LogLine._fields)) for line in said if line["id"] > self._line]
        self._line = found[-1].id if found else self._line
        return found


# Runs and sweeps -----------------------------------------------------------------------------------------------------


class _RunBase(Generic[RunT]):
    """A run as it was when it was last asked for; ``data`` is all that the API says of it."""

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

    def __init__(self, client: _Api[RunT, Any], data: Json) -> None:
        self._client: Any = client
        self._take(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.number} {self.title!r} {self.status}>"

    def _take(self, data: Json) -> RunT:
        self.data = data
        for name in _RunBase.__annotations__:
            setattr(self, name, data.get(name))
        # A run that was trained elsewhere has none.
        self.spec = self.spec or {}
        return cast(RunT, self)

    def _other(self, said: Json) -> RunT:
        return cast(RunT, self._client._run(said))

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self._client.url}/runs/{self.id}"

    @property
    def ended(self) -> bool:
        """Whether nothing about it will change any more."""
        return self.status in ENDED

    def figure(self, metric: str) -> float | None:
        """The value that stands for the run: the last one of the test set's metrics, the best one of all others."""
        found = self.summary.get(metric, {}).get("last" if metric.startswith("test/") else "best")
        return None if found is None else float(found)

    @_request
    def refresh(self, /) -> _Call[RunT]:
        """The same run as it is now."""
        return _Call("GET", f"/runs/{self.id}", self._take)

    @_request
    def cancel(self, /) -> _Call[RunT]:
        """Stop it: at once while it waits, else at its next batch, with a checkpoint."""
        return _Call("POST", f"/runs/{self.id}/cancel", self._take)

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
        """Change one thing of it before its next step; ``changes`` tells what became of it.

        ``epochs``: so many in all; ``lr_factor``: of its learning rate from then on; ``stop_after_epoch``: end with the
        epoch in training; ``checkpoint``: save, with a copy that stays; ``note``: mark the step on its curves.
        """
        said = _given(epochs=epochs, lr_factor=lr_factor, note=note)
        said |= {
            kind: None
            for kind, wanted in (("stop_after_epoch", stop_after_epoch), ("checkpoint", checkpoint))
            if wanted
        }
        if len(said) != 1:
            raise ValueError("name one change: epochs, lr_factor, stop_after_epoch, checkpoint or note")
        ((kind, value),) = said.items()
        return _Call("POST", f"/runs/{self.id}/changes", _change, {"kind": kind} | _given(value=value))

    @_request
    def changes(self, /) -> _Call[list[Change]]:
        """What was changed of it while it trained, and what waits to be."""
        return _Call("GET", f"/runs/{self.id}/changes", lambda said: [_change(each) for each in said["changes"]])

    @_request
    def marks(self, /) -> _Call[list[Json]]:
        """What happened to it, by step: checkpoints, its best epoch, warnings, restarts, changes, notes, forks."""
        return _Call("GET", f"/runs/{self.id}/marks", lambda said: list(said["marks"]))

    @_request
    def retry(self, /) -> _Call[RunT]:
        """A new run of the same configuration, from the start."""
        return _Call("POST", f"/runs/{self.id}/retry", self._other)

    @_request
    def resume(self, /, epochs: int | None = None) -> _Call[RunT]:
        """A new run that goes on from the last checkpoint, to so many ``epochs`` in all."""
        return _Call("POST", f"/runs/{self.id}/resume", self._other, _given(epochs=epochs))

    @_request
    def clone(self, /, **changes: Any) -> _Call[RunT]:
        """A new run of its spec with these changes."""
        return _Call("POST", f"/runs/{self.id}/clone", self._other, changes)

    @_request
    def fork(self, /, epoch: int, **changes: Any) -> _Call[RunT]:
        """A new run that goes on from the end of ``epoch`` with these changes."""
        return _Call("POST", f"/runs/{self.id}/fork", self._other, {"epoch": epoch, "changes": changes})

    @_request
    def edit(self, /, **said: Any) -> _Call[RunT]:
        """Change its name, notes, tags, or, while it waits, its priority."""
        return _Call("PATCH", f"/runs/{self.id}", self._take, said)

    @_request
    def delete(self, /) -> _Call[None]:
        """Put it into the trash, once it has ended."""
        return _Call("DELETE", f"/runs/{self.id}", lambda _: None)

    @_request
    def restore(self, /) -> _Call[RunT]:
        """Take it out of the trash."""
        return _Call("POST", f"/runs/{self.id}/restore", self._take)

    @_request
    def curves(self, /, names: Sequence[str] = (), points: int = 0) -> _Call[dict[str, Curve]]:
        """Its curves by metric, all without ``names``; ``points``: at most about so many of each, 0 every one."""
        query = {"names": ",".join(names), "points": points}
        return _Call("GET", f"/runs/{self.id}/metrics", _curves, None, query)

    @_request
    def frame(self, /, names: Sequence[str] = (), points: int = 0) -> _Call[Any]:
        """The same as a pandas DataFrame: a row a step, a column a metric."""
        pandas = _pandas()

        def read(said: Json) -> Any:
            columns = {name: pandas.Series(c["value"], c["step"], dtype=float, name=name) for name, c in said.items()}
            return pandas.DataFrame(columns).rename_axis("step")

        query = {"names": ",".join(names), "points": points}
        return _Call("GET", f"/runs/{self.id}/metrics", read, None, query)

    @_request
    def _all_points(self, /) -> _Call[Json]:
        return _Call("GET", f"/runs/{self.id}/metrics", _same, None, {"points": 0})

    @_request
    def _lines(self, /, tail: int) -> _Call[list[Json]]:
        return _Call("GET", f"/runs/{self.id}/logs", lambda said: list(said["lines"]), None, {"tail": tail})

    def _stream(self, after: str, seconds: float | None = None) -> _Stream:
        return _Stream(f"/runs/{self.id}/events", after, seconds, f"run {self.id}")


class _SweepBase(Generic[SweepT, RunT]):
    """A sweep as it was when it was last asked for; ``data`` is all that the API says of it."""

    id: str
    number: int
    name: str
    title: str
    status: str
    planned: int
    counts: dict[str, int]
    best: Json | None
    runs: list[str]

    def __init__(self, client: _Api[RunT, SweepT], data: Json) -> None:
        self._client: Any = client
        self._take(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.number} {self.title!r} {self.status}>"

    def _take(self, data: Json) -> SweepT:
        self.data = data
        for name in _SweepBase.__annotations__:
            setattr(self, name, data.get(name))
        self.runs = data.get("runs", [])
        return cast(SweepT, self)

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self._client.url}/sweeps/{self.id}"

    @property
    def ended(self) -> bool:
        """Whether it launches no more runs and all of its runs have ended."""
        living = sum(number for status, number in self.counts.items() if status not in ENDED)
        return self.status != "running" and not living

    @_request
    def refresh(self, /) -> _Call[SweepT]:
        """The same sweep as it is now."""
        return _Call("GET", f"/sweeps/{self.id}", self._take)

    @_request
    def stop(self, /) -> _Call[SweepT]:
        """Launch no more, and stop all of its runs."""
        return _Call("POST", f"/sweeps/{self.id}/stop", self._take)

    @_request
    def extend(self, /, **more: Any) -> _Call[SweepT]:
        """Add values, seeds or draws."""
        return _Call("POST", f"/sweeps/{self.id}/extend", self._take, more)


class Run(_NowBy, _RunBase["Run"]):
    """A run."""

    def wait(self, timeout: float | None = None) -> Run:
        """The run once it has ended. Raises TimeoutError after so many seconds; the run goes on."""
        for _ in self._client._events(self._stream(FROM_NOW, timeout)):
            pass
        return self.refresh()

    def metrics(self, names: Sequence[str] | None = None) -> Iterator[Point]:
        """Every point of the run, those to come included, until it has ended: none twice, and none left out.

        Where a lost run goes on from a checkpoint, it tells nothing until it is behind the last step that was told.
        """
        news = _News(names)
        for event, said in self._client._events(self._stream("0")):
            if event in ("metrics", "reset"):
                yield from news.points(self._all_points() if event == "reset" else said)

    def logs(self, follow: bool = False, tail: int = 10_000) -> Iterator[LogLine]:
        """The last lines of its log; with ``follow`` those to come as well, until it has ended."""
        news = _News()
        yield from news.lines(self._lines(tail))
        for event, said in self._client._events(self._stream("0")) if follow else ():
            if event == "log":
                yield from news.lines(said)


class AsyncRun(_LaterBy, _RunBase["AsyncRun"]):
    """A run; what is a request is awaited."""

    async def wait(self, timeout: float | None = None) -> AsyncRun:
        """As Run.wait."""
        async for _ in self._client._events(self._stream(FROM_NOW, timeout)):
            pass
        return await self.refresh()

    async def metrics(self, names: Sequence[str] | None = None) -> AsyncIterator[Point]:
        """As Run.metrics."""
        news = _News(names)
        async for event, said in self._client._events(self._stream("0")):
            if event in ("metrics", "reset"):
                for point in news.points(await self._all_points() if event == "reset" else said):
                    yield point

    async def logs(self, follow: bool = False, tail: int = 10_000) -> AsyncIterator[LogLine]:
        """As Run.logs."""
        news = _News()
        for line in news.lines(await self._lines(tail)):
            yield line
        if follow:
            async for event, said in self._client._events(self._stream("0")):
                for line in news.lines(said) if event == "log" else ():
                    yield line


class Sweep(_NowBy, _SweepBase["Sweep", Run]):
    """A sweep."""

    def wait(self, timeout: float | None = None) -> Sweep:
        """The sweep once all of its runs have ended. Raises TimeoutError after so many seconds; it goes on."""
        for _ in self._client.changes(timeout):
            if self.refresh().ended:
                break
            time.sleep(PAUSE_SECONDS)
        return self


class AsyncSweep(_LaterBy, _SweepBase["AsyncSweep", AsyncRun]):
    """A sweep; what is a request is awaited."""

    async def wait(self, timeout: float | None = None) -> AsyncSweep:
        """As Sweep.wait."""
        async for _ in self._client.changes(timeout):
            if (await self.refresh()).ended:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return self


# The clients ---------------------------------------------------------------------------------------------------------


class Runyard(_Now, _Api[Run, Sweep]):
    """A running Runyard. Every method raises RunyardError."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        super().__init__(url, token)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> Runyard:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _run(self, said: Json) -> Run:
        return Run(self, said)

    def _sweep(self, said: Json) -> Sweep:
        return Sweep(self, said)

    def _send(self, call: _Call[T]) -> T:
        for attempt in range(call.attempts):
            try:
                answer = self._http.request(**call.arguments())
            except httpx.TransportError as error:
                if attempt + 1 == call.attempts:
                    raise _absent(self.url) from error
                time.sleep(PAUSE_SECONDS * attempt)
            else:
                return call.read(_read(answer, self.url))
        raise AssertionError("the last attempt returns or raises")

    def _events(self, stream: _Stream) -> Iterator[tuple[str, Any]]:
        while not stream.ended:
            try:
                with self._http.stream(**stream.request()) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        _read(answer, self.url)
                    for line in answer.iter_lines():
                        if (event := stream.take(line)) is not None:
                            yield event
            except (httpx.TransportError, RunyardError) as error:
                stream.broken(error, self.url)
            if not stream.ended:
                time.sleep(PAUSE_SECONDS)

    def changes(self, timeout: float | None = None) -> Iterator[None]:
        """An item at once, and whenever any run or worker may have changed. TimeoutError after so many seconds."""
        return (None for _ in self._events(_Stream("/events", None, timeout, "what was waited for")))

    def runs(self, limit: int | None = None, **where: Any) -> Iterator[Run]:
        """Runs, ``limit`` at most. ``where``: status, family, size, dataset, tag, number (one or a list), q, sort."""
        after: str | None = None
        left = math.inf if limit is None else limit
        while left > 0:
            found, after = self.page(after, int(min(left, PAGE_RUNS)), **where)
            yield from found
            left = left - len(found) if after else 0


class AsyncRunyard(_Later, _Api[AsyncRun, AsyncSweep]):
    """A running Runyard, asynchronously. Every method raises RunyardError."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        super().__init__(url, token)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> AsyncRunyard:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    def _run(self, said: Json) -> AsyncRun:
        return AsyncRun(self, said)

    def _sweep(self, said: Json) -> AsyncSweep:
        return AsyncSweep(self, said)

    async def _send(self, call: _Call[T]) -> T:
        for attempt in range(call.attempts):
            try:
                answer = await self._http.request(**call.arguments())
            except httpx.TransportError as error:
                if attempt + 1 == call.attempts:
                    raise _absent(self.url) from error
                await asyncio.sleep(PAUSE_SECONDS * attempt)
            else:
                return call.read(_read(answer, self.url))
        raise AssertionError("the last attempt returns or raises")

    async def _events(self, stream: _Stream) -> AsyncIterator[tuple[str, Any]]:
        while not stream.ended:
            try:
                async with self._http.stream(**stream.request()) as answer:
                    if answer.status_code != 200:
                        await answer.aread()
                        _read(answer, self.url)
                    async for line in answer.aiter_lines():
                        if (event := stream.take(line)) is not None:
                            yield event
            except (httpx.TransportError, RunyardError) as error:
                stream.broken(error, self.url)
            if not stream.ended:
                await asyncio.sleep(PAUSE_SECONDS)

    async def changes(self, timeout: float | None = None) -> AsyncIterator[None]:
        """As Runyard.changes."""
        async for _ in self._events(_Stream("/events", None, timeout, "what was waited for")):
            yield None

    async def runs(self, limit: int | None = None, **where: Any) -> AsyncIterator[AsyncRun]:
        """As Runyard.runs."""
        after: str | None = None
        left = math.inf if limit is None else limit
        while left > 0:
            found, after = await self.page(after, int(min(left, PAGE_RUNS)), **where)
            for run in found:
                yield run
            left = left - len(found) if after else 0


# Answers, as they are read -------------------------------------------------------------------------------------------


def _read(answer: httpx.Response, url: str) -> Any:
    """What an answer says. Raises RunyardError in the server's words where it refuses."""
    try:
        said: Any = answer.json() if answer.content else None
        if answer.is_success:
            return said
        errors = [FieldProblem(each["field"], each["message"]) for each in said.get("errors", [])]
        raise RunyardError(str(said["detail"]), answer.status_code, errors)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        strange = "" if answer.is_success else f", or a proxy stands between: HTTP status {answer.status_code}"
        raise RunyardError(f"what answers at {url} is not Runyard{strange}", answer.status_code) from error


def _absent(url: str) -> RunyardError:
    start = "start one with `runyard up`, or name another in RUNYARD_URL"
    return RunyardError(f"no Runyard answers at {url}; {start}")


def _host(url: str) -> str:
    refusal = RunyardError(f"'{url[:100]}' is not the address of a server; it looks like http://127.0.0.1:8000")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refusal from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise refusal
    return parts.hostname


def _figure(said: Json) -> Figure:
    return Figure(said["mean"], said["half"], said["values"], said["best"])


def _change(said: Json) -> Change:
    kind, value, state = said["kind"], said["value"], said["state"]
    return Change(said["id"], kind, value, state, said["step"], said["reason"], said["sentence"], said)


def _curves(said: Json) -> dict[str, Curve]:
    try:
        import numpy
    except ImportError:
        nan = math.nan
        return {
            name: Curve(curve["step"], [nan if each is None else each for each in curve["value"]], curve["time"])
            for name, curve in said.items()
        }
    return {
        name: Curve(
            numpy.array(curve["step"], dtype=numpy.int64),
            numpy.array(curve["value"], dtype=numpy.float64),
            numpy.array(curve["time"], dtype=numpy.float64),
        )
        for name, curve in said.items()
    }


def _pandas() -> Any:
    try:
        import pandas  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError("a frame needs pandas, which is not installed here: pip install pandas") from error
    return pandas


# The program ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run the `runyard` program, as `python -m runyard` does. A copy of this file alone has none."""
    try:
        from _runyard import main as run
    except ModuleNotFoundError:
        sys.exit("runyard: this is a copy of the Python client. Install Runyard to get its commands; see its README.")
    run()


if __name__ == "__main__":
    main()

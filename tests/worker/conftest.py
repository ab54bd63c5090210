"""Shared fixtures of the worker's tests: a Redis server, configurations, and a fit that records everything reported."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from redis import Redis
from redis.exceptions import RedisError
from torch import Tensor

from app.contract import broker
from app.contract.events import Change, Checkpoint, Result, unpack_points
from app.contract.recipes import recipe_settings
from app.contract.settings import Settings
from app.contract.spec import RunConfig
from app.services.embedded import find_redis, redis_command
from tests.worker.official_files import CIFARS, MNISTS, TEST, TRAINING, Mirror, know, mnist_files, point, put
from worker.data.dataset_readers import digits
from worker.data.datasets import load
from worker.job import COMMAND, CONTINUE, PULSE, Control, Job
from worker.reporting.reporter import Reporter
from worker.reporting.spool import SpoolEntry

if TYPE_CHECKING:
    from tests.worker.supervised import Worker, Yard


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run no faster on more threads, and other test processes need the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # Numpy's, in the fork server and what is forked from it.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with the plain tuning: the result of a trial depends on the machine's load."""
    monkeypatch.setattr("worker.training.autotune.MIN_RUN_STEPS", 10**9)


def until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Wait until ``condition`` is true and return its value; AssertionError if that takes over ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return found


# Redis ---------------------------------------------------------------------------------------------------------------


class RedisServer:
    """A Redis started as `runyard up` does; its contents survive a stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        command = redis_command(find_redis(), self.folder, self.socket)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with self.client() as client:
            until(lambda: self._answers(client), "Redis answers")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def client(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=10, socket_connect_timeout=2)

    @staticmethod
    def _answers(client: Redis) -> bool:
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False


@pytest.fixture(scope="session")
def session_server() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ry") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def server(session_server: RedisServer) -> Iterator[RedisServer]:
    """A running, empty Redis; a test may stop and start it."""
    with session_server.client() as client:
        client.flushall()
    yield session_server
    if not session_server.running:
        session_server.start()


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with server.client() as client:
        yield client


class Committer:
    """Commits entries as the recorder does: each sequence number once, in order, and none after a gap."""

    def __init__(self, redis: Redis) -> None:
        self.taken: dict[tuple[str, int], list[SpoolEntry]] = {}
        self._redis = redis
        self._at: Any = "0-0"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Committer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.take()
            self._stop.wait(0.005)

    def take(self) -> None:
        """Commit everything in the stream."""
        entries: Any = self._redis.xrange(broker.EVENTS, f"({self._at}")
        for entry_id, fields in entries:
            self._at = entry_id.decode()
            attempt = fields[b"r"].decode(), int(fields[b"f"])
            said = SpoolEntry(int(fields[b"s"]), fields[b"k"].decode(), fields[b"b"])
            taken = self.taken.setdefault(attempt, [])
            if said.sequence == len(taken) + 1:
                taken.append(said)
        for (run, fence), taken in self.taken.items():
            self._redis.hset(broker.COMMITTED, broker.committed_field(run, fence), str(len(taken)))


def points_of(entries: Sequence[SpoolEntry]) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each metric, in order of arrival."""
    found: dict[str, list[tuple[int, float]]] = {}
    for said in entries:
        if said.kind == "metrics":
            for points in unpack_points(said.body)[1]:
                steps, values = np.frombuffer(points.steps, "<u4"), np.frombuffer(points.values, "<f8")
                assert len(steps) == len(values) == len(points.offsets) // 4 == points.count
                found.setdefault(points.name, []).extend(zip(steps.tolist(), values.tolist(), strict=True))
    return found


# Fits ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datasets folder with digits already prepared."""
    folder = tmp_path_factory.mktemp("datasets")
    load("digits", ["digit"], folder, lambda text: None)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path, datasets: Path) -> Path:
    """A separate data folder that shares the session's datasets."""
    (tmp_path / "datasets").symlink_to(datasets)
    return tmp_path


def make_config(family: str = "simple_mlp", size: str = "tiny", **changes: Any) -> RunConfig:
    """A configuration with every field; by default two epochs of the smallest network on digits, at a constant rate."""
    named: dict[str, Any] = {"family": family, "size": size, "dataset": "digits", "targets": ["digit"], "epochs": 2}
    settings = recipe_settings("default", family, str(changes.get("dataset", "digits")))
    # Recipes change when they are tuned; these tests count steps and choose seeds.
    fixed = {"batch_size": 128, "lr": 1e-3, "schedule": "plateau", "warmup": 0.0, "clip_norm": 0.0, "crop_padding": 0}
    return RunConfig.model_validate(settings | named | {"recipe": "default"} | fixed | changes)


class Collector(Reporter):
    """A reporter that records everything, in order."""

    def __init__(self) -> None:
        self.rows: list[tuple[tuple[str, ...], int, list[float]]] = []
        self.events: list[tuple[str, BaseModel]] = []
        self.lines: list[tuple[str, str]] = []
        self.order: list[tuple[str, int]] = []
        self.full = False

    def points(self, names: tuple[str, ...], step: int, values: Sequence[Tensor | float]) -> None:
        self.rows.append((names, step, [float(value) for value in values]))
        self.order.append(("points", step))

    def event(self, kind: str, said: BaseModel) -> None:
        self.events.append((kind, said))
        self.order.append((kind, getattr(said, "step", -1)))

    def log(self, text: str, level: str = "info") -> None:
        self.lines.append((level, text))

    def committed_checkpoints(self) -> int:
        return len(self.events_of("checkpoint"))

    def close(self, patience_seconds: float, wait_for_room: Callable[[], bool] = lambda: False) -> bool:
        return True

    @property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Steps and values by metric."""
        found: dict[str, list[tuple[int, float]]] = {}
        for names, step, values in self.rows:
            for name, value in zip(names, values, strict=True):
                found.setdefault(name, []).append((step, value))
        return found

    def events_of(self, kind: str) -> list[Any]:
        """The events of one kind."""
        return [body for name, body in self.events if name == kind]

    def last_checkpoint(self) -> Checkpoint:
        """The last checkpoint to resume from."""
        found: Checkpoint = [each for each in self.events_of("checkpoint") if not each.best and not each.kept][-1]
        return found


def last_weights(fitted: Fitted) -> dict[str, Tensor]:
    """The weights in the last checkpoint to resume from."""
    from worker.training.checkpoint_file import from_bytes

    return from_bytes(fitted.kept(fitted.reporter.last_checkpoint())).network


def best_weights(*attempts: Fitted) -> dict[str, Tensor]:
    """The best weights of a run with these attempts."""
    from worker.training.checkpoint_file import from_bytes

    told = [(each, event) for each in attempts for event in each.reporter.events_of("checkpoint") if event.best]
    return from_bytes(told[-1][0].kept(told[-1][1])).network


class StopsAt(list[int]):
    """Shared numbers of a Control in which a command appears at a given pulse."""

    def __init__(self, pulse: int, command: int) -> None:
        super().__init__([CONTINUE, 0])
        self._pulse, self._command = pulse, command

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        if index == PULSE and value >= self._pulse:
            super().__setitem__(COMMAND, self._command)


@dataclass
class Fitted:
    """A fit and everything it reported."""

    result: Result
    reporter: Collector
    artifacts: Path
    pulses: int

    def kept(self, checkpoint: Checkpoint) -> bytes:
        return (self.artifacts / checkpoint.path).read_bytes()


def fit_run(
    config: RunConfig,
    data_dir: Path,
    *,
    shared: list[int] | None = None,
    resume: Checkpoint | None = None,
    fence: int = 1,
    changes: Sequence[Change] = (),
    **settings: Any,
) -> Fitted:
    """Train one attempt of the run ``r`` in this process; errors are raised."""
    from worker.training.fit import fit

    chosen = Settings(data_dir=data_dir, **settings)
    shared = [CONTINUE, 0] if shared is None else shared
    reporter = Collector()
    job = Job("r", fence, fence, config, resume, chosen, "cpu", 1, changes=tuple(changes))
    result = fit(job, reporter, Control(shared))
    return Fitted(result, reporter, Path(chosen.artifacts), shared[PULSE])


def fit_run_that_ends_worse(data_dir: Path, epochs: int = 6) -> tuple[RunConfig, Fitted]:
    """A configuration and its run whose last epoch is not its best; the seed depends on the processor."""
    for seed in range(20):
        config = make_config("simple_mlp", "small", batch_size=32, epochs=epochs, lr=0.03, seed=seed)
        fitted = fit_run(config, data_dir)
        if max(said.epoch for said in fitted.reporter.events_of("checkpoint") if said.best) < epochs:
            return config, fitted
        shutil.rmtree(fitted.artifacts)
    raise AssertionError("the last epoch is the best with every seed")


# Supervisors ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(server: RedisServer, data_dir: Path) -> Settings:
    # Two slots, of which most tests use one: a trainer then has half the cores, and a busy machine hardly slows it.
    return Settings(data_dir=data_dir, redis_url=server.url, device="cpu", slots=2, heartbeat_seconds=0.2)


@pytest.fixture
def yard(settings: Settings) -> Iterator[Yard]:
    from tests.worker.supervised import Yard

    created = Yard(settings)
    yield created
    created.close()


@pytest.fixture
def worker(settings: Settings, yard: Yard) -> Iterator[Worker]:
    from tests.worker.supervised import started

    with started(settings) as running:
        yield running


# Datasets' official files --------------------------------------------------------------------------------------------


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Block connections to the network or a proxy."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", f"a test wants to reach {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def said() -> list[str]:
    """The sentences a user sees; pass its ``append`` as ``log``."""
    return []


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A file server, empty at first."""
    one = Mirror()
    yield one
    one.stop()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every dataset's address is a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for name in MNISTS | CIFARS:
            point(name, f"http://127.0.0.1:{taken.getsockname()[1]}/", monkeypatch)
        yield


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Call it with a dataset and a folder to put small official files there that torchvision accepts.

    mnist is drawn, so that its measures vary; cifar10 and cifar100 are noise.
    """

    def given(name: str, folder: Path) -> None:
        drawn = digits().images[:, 0].numpy()
        files = mnist_files(drawn[:TRAINING], drawn[TRAINING : TRAINING + TEST]) if name in MNISTS else None
        put(name, folder, know(name, monkeypatch, files))

    return given

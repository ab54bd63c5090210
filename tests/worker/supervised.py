"""A server with a real recorder and a supervisor with real trainers, for tests of the supervisor."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
from redis import Redis
from sqlalchemy import Engine, text

from app.contract.settings import Settings
from app.contract.spec import RunConfig
from app.services.recorder import Recorder
from app.store import lease, log, metric, run
from app.store.database import migrate, next_commit, open_database, reading, writing
from tests.worker.conftest import make_config, until
from worker.supervisor import Supervisor

LONG = make_config(epochs=100_000, batch_size=64)


class Yard:
    """The server side, with the real recorder in a thread, and the actions of a user."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: Engine = open_database(settings.database)
        migrate(self.engine)
        self._stop = threading.Event()
        self._redis = Redis.from_url(settings.redis, socket_timeout=30)
        self._recorder = Recorder(settings, self.engine, self._redis)
        self._thread = threading.Thread(target=self._recorder.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._recorder.celery.close()
        self._redis.close()
        self.engine.dispose()

    def launch(self, config: RunConfig) -> str:
        with writing(self.engine) as connection:
            return run.insert_run(connection, config, {}, None, time.time())

    def row(self, run_id: str) -> run.RunRecord:
        with reading(self.engine) as connection:
            found = run.load_run(connection, run_id)
        assert found is not None
        return found

    def status(self, run_id: str) -> str:
        return str(self.row(run_id).status)

    def is_(self, run_id: str, status: str) -> bool:
        return self.status(run_id) == status

    def trains(self, run_id: str) -> bool:
        row = self.row(run_id)
        return bool(row.status == "running" and row.progress and row.progress["step"] > 0)

    def cancel(self, run_id: str) -> None:
        with writing(self.engine) as connection:
            lease.request_cancel(connection, run_id, next_commit(connection), time.time(), 60.0)

    def change(self, run_id: str, assignment: str) -> None:
        with writing(self.engine) as connection:
            connection.execute(text(f"UPDATE run SET {assignment} WHERE id = :run"), {"run": run_id})

    def steps(self, run_id: str, name: str) -> list[int]:
        with reading(self.engine) as connection:
            curves = metric.read_curves(connection, run_id, [name], 0)
        return [int(step) for step in curves[name].steps] if name in curves else []

    def words(self, run_id: str) -> list[str]:
        with reading(self.engine) as connection:
            return [str(line["text"]) for line in log.read_lines(connection, run_id, tail=100_000)]


class Worker:
    """A supervisor in this process, and its slots as Celery's threads would run them."""

    def __init__(self, settings: Settings) -> None:
        self.supervisor = Supervisor(settings)
        self.supervisor.start()
        self._threads: list[threading.Thread] = []

    def work(self) -> threading.Thread:
        thread = threading.Thread(target=self.supervisor.work, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def trainer(self) -> psutil.Process:
        """The only trainer process."""
        (found,) = until(lambda: trainers(os.getpid()), "a trainer runs")
        assert isinstance(found, psutil.Process)
        return found

    def close(self) -> None:
        for each in trainers(os.getpid()):
            with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
                each.resume()
        self.supervisor.stop()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        self.supervisor.leave()


def fork_servers(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "forkserver" in " ".join(child.cmdline())]


def trainers(pid: int) -> list[psutil.Process]:
    """The running children of a worker's fork server."""
    return [child for each in fork_servers(pid) for child in each.children() if alive(child)]


@contextmanager
def started(settings: Settings) -> Iterator[Worker]:
    with ExitStack() as stack:
        worker = Worker(settings)
        stack.callback(worker.close)
        yield worker


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

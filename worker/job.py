"""One attempt at a run: its job, the control shared with the supervisor, and the entry point of its process.

The supervisor imports this module without torch; the fork server has already loaded torch and the trainer.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

from app.contract.events import Change, Checkpoint, DeviceInfo, Grant
from app.contract.program import Startable
from app.contract.settings import Settings
from app.contract.shared_files import SharedFolder
from app.contract.spec import RunConfig

CONTINUE, CANCEL, INTERRUPT = 0, 1, 2
COMMAND, PULSE, CHILD, WAITING = 0, 1, 2, 3
NUMBERS = 4
"""How many numbers a trainer and its supervisor share."""
DISK_FULL_EXIT = 75
"""Exit status of a process that could not report its end because the disk is full."""

TRAINER = "worker.training.trainer"
"""A name, not an import: the trainer imports torch and this module."""
EXECUTOR = "worker.commands.process"
"""The same for a run that executes a command."""
PRELOAD = "worker.training.preload"
"""What the fork server imports before any run starts; it imports the trainer."""


@dataclass(frozen=True)
class Job:
    """One attempt at a run; ``command`` is the command line of its worker."""

    run: str
    fence: int
    attempt: int
    config: RunConfig
    resume: Checkpoint | None
    settings: Settings
    device: str
    threads: int
    command: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    architectures: SharedFolder | None = None


@dataclass(frozen=True)
class CommandJob:
    """One attempt at a run that executes a command, or a program with values.

    ``gpu``: index of the slot's GPU as the worker counts them. ``environment``: the worker's own variables.
    """

    run: str
    fence: int
    attempt: int
    command: Startable
    settings: Settings
    gpu: int | None
    threads: int
    environment: dict[str, str]


def training_job(grant: Grant, settings: Settings, device: DeviceInfo) -> Job:
    """The job of a run that was granted with a configuration."""
    assert grant.config is not None
    return Job(
        run=grant.run,
        fence=grant.fence,
        attempt=grant.attempt,
        config=grant.config,
        resume=grant.resume,
        settings=settings,
        device=f"cuda:{device.index}" if device.kind == "cuda" else "cpu",
        threads=_threads_per_slot(settings, device),
        command=tuple(sys.orig_argv),
        changes=tuple(grant.changes),
        architectures=grant.architectures,
    )


def command_job(grant: Grant, settings: Settings, device: DeviceInfo, environment: dict[str, str]) -> CommandJob:
    """The job of a run that was granted with a command."""
    assert grant.command is not None
    return CommandJob(
        run=grant.run,
        fence=grant.fence,
        attempt=grant.attempt,
        command=grant.command,
        settings=settings,
        gpu=device.index if device.kind == "cuda" else None,
        threads=_threads_per_slot(settings, device),
        environment=environment,
    )


def _threads_per_slot(settings: Settings, device: DeviceInfo) -> int:
    return max(1, device.cores // settings.slots)


class Control:
    """Shared numbers: the supervisor's command, a pulse that moves with every step, a command's process, and a flag.

    The flag says that the trainer stands still until there is room on the disk.

    ``changes`` is the trainer's end of a pipe that delivers changes to the run; a training step reads neither the pipe
    nor waits for it.
    """

    def __init__(self, shared: Any, changes: Connection | None = None) -> None:
        self._shared = shared
        self.changes = changes

    @property
    def command(self) -> int:
        """CONTINUE, CANCEL or INTERRUPT."""
        return int(self._shared[COMMAND])

    @property
    def told_to_stop(self) -> bool:
        """Whether any command was sent."""
        return self.command != CONTINUE

    def request(self, command: int) -> bool:
        """Send the trainer a command; only the first one counts. False if there already was one."""
        if self._shared[COMMAND] != CONTINUE:
            return False
        self._shared[COMMAND] = command
        return True

    @property
    def pulse(self) -> int:
        """How often the trainer signaled progress."""
        return int(self._shared[PULSE])

    def beat(self) -> None:
        """Signal progress."""
        self._shared[PULSE] += 1

    @property
    def child(self) -> int:
        """The process that leads a command's group; 0 before it has started."""
        return int(self._shared[CHILD])

    def set_child(self, pid: int) -> None:
        """Tell the supervisor the process that leads the command's group."""
        self._shared[CHILD] = pid

    @property
    def waiting(self) -> bool:
        """Whether the trainer waits for disk space."""
        return bool(self._shared[WAITING])

    def set_waiting(self, waiting: bool) -> None:
        """Tell the supervisor whether the trainer waits for disk space."""
        self._shared[WAITING] = int(waiting)


def execute(job: CommandJob, shared: Any, _changes: Connection | None = None) -> None:
    """Run the process beside a command."""
    main: Callable[[CommandJob, Control], None] = importlib.import_module(EXECUTOR).main
    main(job, Control(shared))


def train(job: Job, shared: Any, changes: Connection | None = None) -> None:
    """Run a trainer process."""
    main: Callable[[Job, Control], None] = importlib.import_module(TRAINER).main
    main(job, Control(shared, changes))


def probe(connection: Any, device: str = "auto") -> None:
    """Send what torch finds on this machine: device kind, name, index, memory in bytes, versions.

    With several GPUs, describes the one that ``device`` names.
    """
    import lightning
    import torch

    info: dict[str, Any] = {
        "kind": "cpu",
        "name": "cpu",
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "versions": {"torch": torch.__version__, "lightning": lightning.__version__},
    }
    index = int(device.partition(":")[2] or 0)
    if torch.cuda.is_available() and index < torch.cuda.device_count():
        properties = torch.cuda.get_device_properties(index)
        info |= {"kind": "cuda", "name": properties.name, "memory_bytes": properties.total_memory, "index": index}
    connection.send(info)
    connection.close()


class DeviceError(RuntimeError):
    """A worker cannot train on this machine, or not on the device of its settings; the message says why."""


def probe_device(context: ForkServerContext, requested: str) -> tuple[DeviceInfo, dict[str, str]]:
    """The device that ``requested`` names, and the versions of torch and Lightning.

    Raises DeviceError if torch does not work on this machine, or finds no such device.
    """
    ours, theirs = context.Pipe()
    process = context.Process(target=probe, args=(theirs, requested), daemon=True)
    process.start()
    theirs.close()
    try:
        device = ours.recv()
    except EOFError as error:
        process.join()
        status = process.exitcode
        message = f"PyTorch does not work on this machine: the device probe exited with status {status}"
        raise DeviceError(message) from error
    process.join()
    versions: dict[str, str] = device.pop("versions")
    if requested.startswith("cuda") and device["kind"] != "cuda":
        missing = "no such GPU" if ":" in requested else "no GPU"
        raise DeviceError(f"RUNYARD_DEVICE is {requested}, but PyTorch finds {missing} on this machine")
    if requested == "cpu":
        device |= {"kind": "cpu", "name": "cpu", "index": 0}
    return DeviceInfo(cores=len(os.sched_getaffinity(0)), **device), versions

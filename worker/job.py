"""One attempt at a run, as the supervisor hands it to a process of its fork server, and where that process starts.

The supervisor imports this module without torch; the fork server has torch and the trainer loaded already.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from app.contract.events import Change, Checkpoint
from app.contract.settings import Settings
from app.contract.spec import RunConfig

GO_ON, CANCEL, INTERRUPT = 0, 1, 2
COMMAND, PULSE = 0, 1

TRAINER = "worker.training.trainer"
"""Named, not imported: it imports torch and this module. The fork server loads it before any run starts."""


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


class Control:
    """Two shared numbers: what the supervisor commands, and a pulse that moves with every step.

    ``asked`` is the trainer's end of a pipe through which changes come; a step looks at neither.
    """

    def __init__(self, shared: Any, asked: Connection | None = None) -> None:
        self._shared = shared
        self.asked = asked

    @property
    def command(self) -> int:
        """GO_ON, CANCEL or INTERRUPT."""
        return int(self._shared[COMMAND])

    def order(self, command: int) -> bool:
        """Command the trainer; the first command stands. False when there was one already."""
        if self._shared[COMMAND] != GO_ON:
            return False
        self._shared[COMMAND] = command
        return True

    @property
    def pulse(self) -> int:
        """How often the trainer showed life."""
        return int(self._shared[PULSE])

    def beat(self) -> None:
        """Show life."""
        self._shared[PULSE] += 1


def train(job: Job, shared: Any, asked: Connection | None = None) -> None:
    """A trainer process."""
    main: Callable[[Job, Control], None] = importlib.import_module(TRAINER).main
    main(job, Control(shared, asked))


def probe(connection: Any, device: str = "auto") -> None:
    """Tell what torch finds here: device kind, name, index, memory in bytes, versions; of a GPU, the one asked for."""
    import os

    import lightning
    import torch

    facts: dict[str, Any] = {
        "kind": "cpu",
        "name": "cpu",
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "versions": {"torch": torch.__version__, "lightning": lightning.__version__},
    }
    index = int(device.partition(":")[2] or 0)
    if torch.cuda.is_available() and index < torch.cuda.device_count():
        properties = torch.cuda.get_device_properties(index)
        facts |= {"kind": "cuda", "name": properties.name, "memory_bytes": properties.total_memory, "index": index}
    connection.send(facts)
    connection.close()

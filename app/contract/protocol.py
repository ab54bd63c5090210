"""The version of the messages between server and worker, and what to say where it differs.

Raise PROTOCOL with a change of `app/contract/events.py` that an older worker or recorder would misunderstand. A field
that the other side may ignore is none. Workers before there was a number speak protocol 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROTOCOL: Final = 1


@dataclass(frozen=True)
class Speaker:
    """A server or a worker. ``version``: of Runyard; "" if it does not say."""

    version: str
    protocol: int = PROTOCOL

    def __str__(self) -> str:
        return f"Runyard {self.version or 'of another version'} (protocol {self.protocol})"


def skew(server: Speaker, worker: Speaker) -> str:
    """Why a worker gets no runs from a server, and what to do; "" if they understand each other."""
    if server.protocol == worker.protocol:
        return ""
    older, newer = ("worker", server) if worker.protocol < server.protocol else ("server", worker)
    target = f"version {newer.version}" if newer.version else "the newer version"
    return f"the worker has {worker}, the server {server}, so it gets no runs; install {target} for the {older}"

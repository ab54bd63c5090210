"""Reads and writes checkpoints: tensors as safetensors, everything else as JSON in the file's header; no pickle.

They are written to the artifact store under ``<run>/<fence>/``, so that an attempt that was replaced cannot overwrite
what its successor wrote.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
import safetensors.torch
import torch
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from torch import Tensor

from worker.training.packed_tensors import Packed, encode, pack


@dataclass
class State:
    """Everything a run needs to resume as if it had never stopped. ``metadata``: JSON-compatible values.

    ``best``: the best weights so far, in a checkpoint that cannot rely on their own file. ``average``: the averaged
    weights, if they are averaged. ``history``: predictions for the validation images that are in no file yet.
    """

    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    random: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    history: dict[str, Tensor] = field(default_factory=dict)


Reserve = Callable[[int], int]
"""How many bytes of a disk must stay free, by its size in bytes."""


class Store:
    """The artifact store; paths are relative to its root.

    reserve: what writing must leave free on a local disk, for the reports of runs and the database.
    """

    def __init__(self, address: str, reserve: Reserve = lambda total: 0) -> None:
        self._files, self._root = fsspec.core.url_to_fs(address)
        self.reserve = reserve

    def write(self, path: str, content: bytes) -> None:
        """Write a file completely or not at all. Raises OSError (ENOSPC) if the disk has no room for it."""
        target = f"{self._root}/{path}"
        if isinstance(self._files, LocalFileSystem):
            _write_local(Path(target), content, self.reserve)
        else:
            self._files.pipe_file(target, content)

    def remove(self, path: str) -> None:
        """Remove a file if it exists."""
        with suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{path}")

    def find(self, pattern: str) -> list[str]:
        """The paths of files that match a pattern such as ``RUN/*/name``, in no order."""
        prefix = f"{self._root}/"
        return [str(path).removeprefix(prefix) for path in self._files.glob(prefix + pattern)]

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        content: bytes = self._files.cat_file(f"{self._root}/{path}")
        return content

    def chunks(self, path: str) -> Iterator[bytes]:
        """Return the content of a file in parts of at most 4 MiB."""
        with self._files.open(f"{self._root}/{path}", "rb") as file:
            while chunk := file.read(2**22):
                yield chunk


def _write_local(path: Path, content: bytes, reserve: Reserve) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(path.parent)
    # Before writing: a file that fills the disk half way would take the room of all others.
    if disk.free < len(content) + reserve(disk.total):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    fresh = path.with_name(path.name + ".new")
    try:
        with open(fresh, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class Snapshot:
    """A copy of a state on the CPU, which training does not change any more, ready to be written."""

    tensors: list[Packed]
    header: str

    def with_best(self, weights: Mapping[str, Tensor]) -> Snapshot:
        """The same with the best weights so far."""
        best = pack({f"best/{name}": value for name, value in weights.items()})
        return replace(self, tensors=[*self.tensors, *best])

    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(part.data.nbytes for part in self.tensors)

    def to_bytes(self) -> bytes:
        """The content of a safetensors file."""
        return encode(self.tensors, {"runyard": self.header})


def to_bytes(state: State) -> bytes:
    """Encode a state as one safetensors file."""
    return snapshot(state).to_bytes()


def snapshot(state: State) -> Snapshot:
    """Copy a state."""
    tensors = {f"network/{name}": value for name, value in state.network.items()}
    tensors |= {f"random/{name}": value for name, value in state.random.items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    tensors |= {f"history/{name}": value for name, value in state.history.items()}
    plain: dict[str, dict[str, Any]] = {}
    for index, slots in state.optimizer.get("state", {}).items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    header = {
        "facts": state.metadata,
        "groups": state.optimizer.get("param_groups", []),
        "plain": plain,
    }
    return Snapshot(pack(tensors), json.dumps(header))


def from_bytes(content: bytes) -> State:
    """Inverse of to_bytes; raises ValueError if the content is not such a file."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["runyard"])
        metadata, groups, plain = header["facts"], header["groups"], header["plain"]
        tensors = safetensors.torch.load(content)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError("not a Runyard checkpoint, or a truncated one") from error
    state = State({}, {"state": {}, "param_groups": groups}, {}, metadata)
    for name, value in tensors.items():
        kind, rest = name.split("/", 1)
        if kind == "network":
            state.network[rest] = value
        elif kind == "random":
            state.random[rest] = value
        elif kind == "best":
            state.best[rest] = value
        elif kind == "average":
            state.average[rest] = value
        elif kind == "history":
            state.history[rest] = value
        else:
            index, slot = rest.split("/", 1)
            state.optimizer["state"].setdefault(int(index), {})[slot] = value
    for index, slots in plain.items():
        state.optimizer["state"].setdefault(int(index), {}).update(slots)
    return state


def random_state(device: torch.device, generator: torch.Generator) -> dict[str, Tensor]:
    """The states of all random number generators that training uses."""
    states = {"cpu": torch.get_rng_state(), "augment": generator.get_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: dict[str, Tensor], device: torch.device, generator: torch.Generator) -> None:
    """Inverse of random_state."""
    torch.set_rng_state(states["cpu"])
    generator.set_state(states["augment"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)

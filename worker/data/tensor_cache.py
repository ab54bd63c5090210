"""A file of tensors that is made once and read by every run after: checked when read, made by one run at a time."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worker.lock import LOOK_SECONDS, locked
from worker.reporting.error_text import reason
from worker.reporting.progress import ProgressReporter


class _Damaged(Exception):
    """A file is there but not as it should be; the message goes on from its name."""


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A checksum of all names, types, shapes and values, in hexadecimal."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.numpy().data)
    return content.hexdigest()


@dataclass(frozen=True)
class Kept:
    """Where tensors are kept, which they are, and how the user is told of them.

    version: goes up whenever the same source would give other tensors. names: the tensors in the file. source: a
    checksum of what they are made from. title: "the prepared copy of mnist", as it stands in sentences; waiting: what
    another run is at while it makes them: "fetch mnist"; making: what is done to mend them: "preparing it again".
    """

    path: Path
    version: str
    names: frozenset[str]
    source: str
    title: str
    waiting: str
    making: str

    def get(self, make: Callable[[], dict[str, Tensor]], tell: ProgressReporter) -> dict[str, Tensor]:
        """Reads the tensors; makes and keeps them first when they are not there, damaged, or made otherwise.

        Ten runs at once make them once: the others tell that they wait. Tensors that cannot be kept are given all the
        same. Raises what `make` and `tell` raise, and OSError when the folder cannot be made or read.
        """
        try:
            return self._read()
        except (FileNotFoundError, _Damaged):
            pass  # looked at again, and mended, once no other run can be at it
        with self._one_at_a_time(tell):
            try:
                return self._read()
            except FileNotFoundError:
                pass
            except _Damaged as damage:
                tell.say(f"{self.title} {damage}: {self.making}")
            tensors = make()
            self._write(tensors, tell)
            return tensors

    @property
    def _about(self) -> dict[str, str]:
        return {"version": self.version, "source": self.source}

    def _read(self) -> dict[str, Tensor]:
        """Raises FileNotFoundError or _Damaged."""
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("version") != self.version or set(file.keys()) != self.names:
                    raise _Damaged("is from another version")
                if about.get("source", "") != self.source:
                    raise _Damaged("was made from other files")
                tensors = {name: file.get_tensor(name) for name in self.names}
        except SafetensorError as error:
            raise _Damaged("is damaged") from error
        if digest(tensors) != about.get("sha256"):
            raise _Damaged("is damaged")
        return tensors

    def _write(self, tensors: dict[str, Tensor], tell: ProgressReporter) -> None:
        unfinished = self.path.with_suffix(".tmp")
        about = {"version": self.version, "source": self.source, "sha256": digest(tensors)}
        try:
            save_file(tensors, unfinished, metadata=about)
            os.replace(unfinished, self.path)
        except (OSError, SafetensorError) as error:
            # The run has what it needs; only the next one starts slower.
            unfinished.unlink(missing_ok=True)
            tell.say(f"{self.title} could not be kept for the next run ({reason(error)})")

    @contextmanager
    def _one_at_a_time(self, tell: ProgressReporter) -> Iterator[None]:
        path = self.path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            if not locked(file):
                tell.begin(f"waiting for another run to {self.waiting}")
                since = time.monotonic()
                while not locked(file):
                    tell.get_on(0.0, f"for {time.monotonic() - since:.0f} s so far")
                    time.sleep(LOOK_SECONDS)
            yield

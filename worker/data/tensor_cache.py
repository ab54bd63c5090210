"""Caches tensors in a file that every later run reads: verified when read, made by one run at a time."""

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

from worker.lock import POLL_SECONDS, try_lock
from worker.reporting.error_text import reason
from worker.reporting.progress import ProgressReporter


class _Corrupt(Exception):
    """A file exists but cannot be used; the message continues a sentence that starts with its title."""


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A checksum of all names, types, shapes and values, in hexadecimal."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.numpy().data)
    return content.hexdigest()


@dataclass(frozen=True)
class TensorCache:
    """A file that caches tensors, and the phrases with which messages describe it.

    version: increased whenever the same source would give other tensors. names: the tensors in the file. source: a
    checksum of what they are made from. The phrases: title, such as "the prepared copy of mnist"; waiting, what another
    run does meanwhile ("download mnist"); repair, how a damaged file is replaced ("preparing it again").
    """

    path: Path
    version: str
    names: frozenset[str]
    source: str
    title: str
    waiting: str
    repair: str

    def get(self, make: Callable[[], dict[str, Tensor]], reporter: ProgressReporter) -> dict[str, Tensor]:
        """Read the tensors; make and save them first if they are missing, damaged or outdated.

        Of several runs at once, one makes them and the others report that they wait. Tensors that cannot be saved are
        returned all the same. Raises whatever `make` and `reporter` raise, and OSError if the folder cannot be created
        or read.
        """
        try:
            return self._read()
        except (FileNotFoundError, _Corrupt):
            pass  # read again, and repaired, under the lock below
        with self._one_at_a_time(reporter):
            try:
                return self._read()
            except FileNotFoundError:
                pass
            except _Corrupt as problem:
                reporter.log(f"{self.title} {problem}; {self.repair}")
            tensors = make()
            self._write(tensors, reporter)
            return tensors

    def _read(self) -> dict[str, Tensor]:
        """Raises FileNotFoundError or _Corrupt."""
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("version") != self.version or set(file.keys()) != self.names:
                    raise _Corrupt("was made by another version of Runyard")
                if metadata.get("source", "") != self.source:
                    raise _Corrupt("was made from other files")
                tensors = {name: file.get_tensor(name) for name in self.names}
        except SafetensorError as error:
            raise _Corrupt("is damaged") from error
        if digest(tensors) != metadata.get("sha256"):
            raise _Corrupt("is damaged")
        return tensors

    def _write(self, tensors: dict[str, Tensor], reporter: ProgressReporter) -> None:
        unfinished = self.path.with_suffix(".tmp")
        metadata = {"version": self.version, "source": self.source, "sha256": digest(tensors)}
        try:
            save_file(tensors, unfinished, metadata=metadata)
            os.replace(unfinished, self.path)
        except (OSError, SafetensorError) as error:
            # The run has what it needs; only the next one starts slower.
            unfinished.unlink(missing_ok=True)
            reporter.log(f"could not save {self.title} for the next run ({reason(error)})")

    @contextmanager
    def _one_at_a_time(self, reporter: ProgressReporter) -> Iterator[None]:
        path = self.path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            if not try_lock(file):
                reporter.begin(f"waiting for another run to {self.waiting}")
                since = time.monotonic()
                while not try_lock(file):
                    reporter.update(0.0, f"{time.monotonic() - since:.0f} s so far")
                    time.sleep(POLL_SECONDS)
            yield

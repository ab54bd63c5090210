"""Fetches folders that the server put into the artifact store: once for each machine, checked by their SHA-256."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from app.contract.shared_files import SharedFile, SharedFolder
from worker.lock import POLL_SECONDS, try_lock
from worker.reporting.error_text import reason
from worker.reporting.progress import ProgressReporter

WAIT_SECONDS: Final = 600.0
"""How long to wait for a file that the server has not put there yet; a large dataset takes its time."""
LOOK_SECONDS: Final = 1.0
ATTEMPTS: Final = 5

Found = TypeVar("Found")


class NotFetched(Exception):
    """A folder could not be fetched; the message says why."""


class _CutOff(Exception):
    """A file arrived truncated or damaged, or the store did not respond."""


class Source(Protocol):
    """The artifact store."""

    def read(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """The same in parts."""


def fetch_folder(source: Source, shared: SharedFolder, folder: Path, reporter: ProgressReporter) -> None:
    """Make sure that a shared folder is at ``folder``, where it appears when it is complete.

    Waits for another process that fetches the same. Raises NotFetched, and OSError from the disk.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "a") as lock:
        while not try_lock(lock):
            reporter.update(0.0, "another run is fetching it")
            time.sleep(POLL_SECONDS)
        if folder.exists():
            return
        draft = folder.parent / f".{folder.name}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        before = 0
        for each in shared.files:
            show = partial(_show, reporter, before, shared.size)
            _fetch(source, each, draft / each.name, reporter, show)
            before += each.bytes
        os.rename(draft, folder)


def wait_for(read: Callable[[], Found], reporter: ProgressReporter, what: str) -> Found:
    """What ``read`` returns as soon as it raises no FileNotFoundError. Raises NotFetched after WAIT_SECONDS."""
    end = time.monotonic() + WAIT_SECONDS
    failures = 0
    while time.monotonic() < end:
        try:
            return read()
        except FileNotFoundError:
            reporter.update(0.0, f"waiting until the server has put {what} into the artifact store")
        except _CutOff as error:
            failures += 1
            if failures == ATTEMPTS:
                raise NotFetched(f"could not fetch {what} from the artifact store ({error})") from error
            reporter.update(0.0, f"fetching {what} again")
        time.sleep(LOOK_SECONDS)
    minutes = f"{WAIT_SECONDS / 60:.0f} minutes"
    raise NotFetched(
        f"the server has not put {what} into the artifact store within {minutes};"
        " its recorder does that, and says in its log what keeps it from it"
    )


def read_manifest(source: Source, path: str) -> SharedFolder:
    """Read which files a shared folder has; for `wait_for`."""
    return SharedFolder.model_validate_json(b"".join(_guarded(lambda: iter((source.read(path),)))))


def _show(reporter: ProgressReporter, before: int, total: int, read: int) -> None:
    done = before + read
    reporter.update(done / max(1, total), f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB")


def _fetch(
    source: Source, file: SharedFile, target: Path, reporter: ProgressReporter, show: Callable[[int], None]
) -> None:
    def read() -> None:
        digest, done = hashlib.sha256(), 0
        with open(target, "wb") as local:
            for chunk in _guarded(lambda: source.chunks(file.path)):
                digest.update(chunk)
                local.write(chunk)
                done += len(chunk)
                show(done)
            local.flush()
            os.fsync(local.fileno())
        if digest.hexdigest() != file.sha256:
            raise _CutOff("its content has another SHA-256 than it should have")

    wait_for(read, reporter, file.name)


def _guarded(read: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    """What a store returns. Each kind of store has errors of its own; what the caller raises between parts is not one.

    Raises FileNotFoundError and _CutOff.
    """
    try:
        yield from read()
    except FileNotFoundError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise _CutOff(reason(error) if isinstance(error, OSError) else str(error)) from error

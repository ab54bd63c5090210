"""The server's side of the artifact store: read and write files, copy checkpoints, remove what was deleted for good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from app.store.run import RunRecord


def _store(settings: Settings) -> tuple[Any, str]:
    import fsspec  # rarely needed, and takes half a second to import

    files, root = fsspec.core.url_to_fs(settings.artifacts)
    return files, str(root)


def copy_checkpoint(settings: Settings, parent: RunRecord, begin: Checkpoint, run_id: str) -> Checkpoint:
    """Copy a checkpoint of ``parent`` and its best weights to the folder from which ``run_id`` starts.

    Raises FileNotFoundError; leaves no files behind in that case.
    """
    files, root = _store(settings)
    path = f"{run_id}/0/last.safetensors"
    best = Checkpoint.model_validate_json(parent.best_checkpoint).path if parent.best_checkpoint else ""
    files.makedirs(f"{root}/{run_id}/0", exist_ok=True)
    try:
        files.cp_file(f"{root}/{begin.path}", f"{root}/{path}")
        # Checkpoints saved for forking already contain the best weights.
        if best:
            files.cp_file(f"{root}/{best}", f"{root}/{run_id}/0/best.safetensors")
    except FileNotFoundError:
        remove(settings, run_id)
        raise
    return begin.model_copy(update={"path": path, "kept": True})


def read(settings: Settings, path: str) -> bytes:
    """The content of a file. Raises FileNotFoundError."""
    files, root = _store(settings)
    content: bytes = files.cat_file(f"{root}/{path}")
    return content


def chunks(
    settings: Settings, path: str, size: int = 2**18, first: int = 0, most: int | None = None
) -> Iterator[bytes]:
    """The content of a file from byte ``first`` on, at most ``most`` bytes, ``size`` bytes at a time.

    Raises FileNotFoundError at the first chunk.
    """
    with reading(settings, path) as file:
        if first:
            file.seek(first)
        left = most
        while chunk := file.read(size if left is None else min(size, left)):
            left = None if left is None else left - len(chunk)
            yield chunk


@contextmanager
def reading(settings: Settings, path: str) -> Iterator[IO[bytes]]:
    """A file, open to read and seek in. Raises FileNotFoundError."""
    files, root = _store(settings)
    with files.open(f"{root}/{path}", "rb") as file:
        yield file


@contextmanager
def writing(settings: Settings, path: str) -> Iterator[IO[bytes]]:
    """A file to write that nobody reads yet; nothing of it stays after an exception."""
    files, root = _store(settings)
    target = f"{root}/{path}"
    files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
    try:
        if "file" in files.protocol:
            with open(target, "wb") as local:
                yield local
                local.flush()
                os.fsync(local.fileno())
        else:
            with files.open(target, "wb") as file:
                yield file
    except BaseException:
        remove(settings, path)
        raise


def sizes(settings: Settings, folder: str) -> dict[str, int]:
    """The names and bytes of the files in a folder; none if it does not exist."""
    files, root = _store(settings)
    try:
        found = files.ls(f"{root}/{folder}", detail=True, refresh=True)
    except FileNotFoundError:
        return {}
    return {str(each["name"]).rsplit("/", 1)[-1]: int(each["size"]) for each in found if each["type"] == "file"}


def size(settings: Settings, path: str) -> int | None:
    """The bytes of a file; None if it does not exist."""
    files, root = _store(settings)
    try:
        # Another process may have written it.
        files.invalidate_cache(f"{root}/{path}".rpartition("/")[0])
        return int(files.info(f"{root}/{path}")["size"])
    except FileNotFoundError:
        return None


def exists(settings: Settings, path: str) -> bool:
    """Whether there is such a file."""
    return size(settings, path) is not None


def find(settings: Settings, pattern: str) -> list[str]:
    """The paths of files that match a pattern such as ``shared/datasets/*/*.json``, in no order."""
    files, root = _store(settings)
    files.invalidate_cache()
    return [str(path).removeprefix(f"{root}/") for path in files.glob(f"{root}/{pattern}")]


def write(settings: Settings, path: str, content: bytes) -> None:
    """Write a file that nobody reads yet."""
    files, root = _store(settings)
    files.makedirs(f"{root}/{path}".rsplit("/", 1)[0], exist_ok=True)
    files.pipe_file(f"{root}/{path}", content)


def remove(settings: Settings, path: str) -> None:
    """Remove a file, or a folder such as that of a run with everything in it; nothing happens if it does not exist."""
    files, root = _store(settings)
    with suppress(FileNotFoundError):
        files.rm(f"{root}/{path}", recursive=True)

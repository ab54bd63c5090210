"""The server's side of the artifact store: copy checkpoints for new runs, remove files of deleted ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

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


def chunks(settings: Settings, path: str, size: int = 2**18) -> Iterator[bytes]:
    """The content of a file, ``size`` bytes at a time. Raises FileNotFoundError at the first one."""
    files, root = _store(settings)
    with files.open(f"{root}/{path}", "rb") as file:
        while chunk := file.read(size):
            yield chunk


def write(settings: Settings, path: str, content: bytes) -> None:
    """Write a file that nobody reads yet."""
    files, root = _store(settings)
    files.makedirs(f"{root}/{path}".rsplit("/", 1)[0], exist_ok=True)
    files.pipe_file(f"{root}/{path}", content)


def remove(settings: Settings, run_id: str) -> None:
    """Remove all files of a run."""
    files, root = _store(settings)
    with suppress(FileNotFoundError):
        files.rm(f"{root}/{run_id}", recursive=True)

"""Uploads of files that scripts log to their runs, in one request or in parts, and their deletion.

A content is written under a key of its own, and gets its path in the transaction that makes it visible: an upload that
breaks off leaves nothing, and one that replaces a file never leaves half of either.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from anyio import CancelScope
from fastapi.concurrency import contextmanager_in_threadpool
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from app.actions.tracking import find, silence_seconds, writable
from app.contract.errors import Invalid, NotFound
from app.contract.run_files import MAX_FILES, checked_path
from app.contract.settings import Settings
from app.services import artifacts, pubsub
from app.services.disk import disk
from app.services.run_files import key_path
from app.store.database import next_commit, reading, writing
from app.store.logged_model import model_folders
from app.store.run_file import (
    FileRecord,
    add_loose,
    delete_files,
    file_among,
    file_totals,
    find_file,
    forget_loose,
    is_file,
    is_folder,
    is_loose,
    list_files,
    put_file,
)
from app.store.tracked_run import record_activity
from app.web.dependencies import Parts

BUFFER_BYTES: Final = 2**20
MAX_PARTS: Final = 10_000
PART_TOKEN: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Part:
    """A part of an upload, as its client names it. ``token``: what the upload of the part answered."""

    number: int
    token: str

    @property
    def name(self) -> str:
        """Its name in the folder of the upload."""
        return f"{self.number}-{self.token}"


def _mib(size: int) -> str:
    return f"{size // 2**20:,} MiB"


def _most(settings: Settings) -> int:
    return settings.max_file_mib * 2**20


def _too_large(settings: Settings, path: str) -> Invalid:
    return Invalid(
        f"{path[-60:]} is too large: a file can have at most {_mib(_most(settings))}; the server's RUNYARD_MAX_FILE_MIB"
        " changes this limit"
    )


# One request ---------------------------------------------------------------------------------------------------------


async def upload(parts: Parts, run: str, path: str, chunks: AsyncIterable[bytes], announced: int | None) -> None:
    """Write a file of a run while it arrives. ``announced``: its bytes, if the client says so.

    Raises NotFound, Conflict, Invalid and DiskFull; nothing has changed then.
    """
    key = await run_in_threadpool(_begin, parts, run, checked_path(path), announced or 0)
    try:
        size = await _receive(parts, key_path(run, key), chunks, _too_large(parts.settings, path))
        if announced is not None and size != announced:
            raise Invalid(f"{path[-60:]} broke off after {size:,} of {announced:,} bytes")
        replaced = await run_in_threadpool(_finish, parts, run, path, key, size)
    except BaseException:
        # Whatever ended it, a client that hangs up too: what has arrived belongs to no file.
        with CancelScope(shield=True):
            await run_in_threadpool(_drop, parts, run, [key])
        raise
    await run_in_threadpool(_drop, parts, run, replaced)


def _begin(parts: Parts, run: str, path: str, announced: int) -> str:
    """Check what can be checked before anything arrives, and record a content that is to be written."""
    if announced > _most(parts.settings):
        raise _too_large(parts.settings, path)
    key = secrets.token_hex(8)
    with writing(parts.engine) as connection:
        writable(connection, run, late=True)
        _check_place(parts.settings, connection, run, path, announced)
        add_loose(connection, run, key, time.time())
    return key


def _check_place(settings: Settings, connection: Connection, run: str, path: str, size: int) -> None:
    """Raise Invalid if a file cannot get this path, or its run has as many files or bytes as it can have."""
    steps = path.split("/")
    folders = ["/".join(steps[:end]) for end in range(1, len(steps))]
    if folders and (file := file_among(connection, run, folders)):
        raise Invalid(f"'{file[:100]}' is a file, so it cannot have files in it")
    if is_folder(connection, run, path):
        raise Invalid(f"'{path[:100]}' is a folder; give the file another name")
    old, totals = find_file(connection, run, path), file_totals(connection, run)
    if totals.count - (old is not None) >= MAX_FILES:
        raise Invalid(f"a run can have at most {MAX_FILES:,} files")
    most = settings.max_run_files_mib * 2**20
    if totals.bytes - (old.bytes if old else 0) + size > most:
        raise Invalid(
            f"the files of a run can have at most {_mib(most)} together; the server's RUNYARD_MAX_RUN_FILES_MIB"
            " changes this limit"
        )


async def _receive(parts: Parts, target: str, chunks: AsyncIterable[bytes], refusal: Invalid, before: int = 0) -> int:
    """Write what arrives; returns its bytes. Raises ``refusal`` if a file cannot have them and ``before``."""
    size = 0
    with disk():
        async with contextmanager_in_threadpool(artifacts.writing(parts.settings, target)) as file:
            async for block in _blocks(chunks):
                size += len(block)
                if before + size > _most(parts.settings):
                    raise refusal
                await run_in_threadpool(file.write, block)
    return size


async def _blocks(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """What arrives, in larger pieces: each costs a switch of threads."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= BUFFER_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _finish(parts: Parts, run: str, path: str, key: str, size: int) -> list[str]:
    """Make a content visible under its path; returns the keys of contents that it replaced."""
    now = time.time()
    with writing(parts.engine) as connection:
        logged = writable(connection, run, late=True)
        _check_place(parts.settings, connection, run, path, size)
        commit = next_commit(connection)
        replaced = put_file(connection, run, FileRecord(path, key, size, now))
        record_activity(connection, logged, None, commit, now, silence_seconds(parts))
    pubsub.notify_servers(parts.redis, commit, {run: {"progress"}})
    return [] if replaced is None else [replaced]


def _drop(parts: Parts, run: str, keys: Sequence[str]) -> None:
    """Remove those contents that are no file. If this is interrupted, the housekeeper does it later."""
    with reading(parts.engine) as connection:
        # Not those that are loose: of a run that was removed for good meanwhile, no rows are left.
        doomed = [key for key in keys if not is_file(connection, run, key)]
    for key in doomed:
        artifacts.remove(parts.settings, key_path(run, key))
    if doomed:
        with writing(parts.engine) as connection:
            forget_loose(connection, run, doomed)


# In parts ------------------------------------------------------------------------------------------------------------


def begin_parts(parts: Parts, run: str, path: str, count: int) -> str:
    """Start an upload in parts; returns its id. Raises NotFound, Conflict, Invalid."""
    if not 1 <= count <= MAX_PARTS:
        raise Invalid(f"an upload can have from 1 to {MAX_PARTS:,} parts, not {count:,}")
    return _begin(parts, run, checked_path(path), 0)


async def upload_part(parts: Parts, run: str, upload_id: str, number: int, chunks: AsyncIterable[bytes]) -> str:
    """Write a part while it arrives; returns its token. Raises NotFound, Conflict, Invalid and DiskFull."""
    if not 1 <= number <= MAX_PARTS:
        raise Invalid(f"parts have numbers from 1 to {MAX_PARTS:,}")
    before = await run_in_threadpool(_bytes_so_far, parts, run, upload_id)
    token = secrets.token_hex(8)
    target = key_path(run, f"{upload_id}/{Part(number, token).name}")
    await _receive(parts, target, chunks, _too_large(parts.settings, "the upload"), before)
    return token


def _bytes_so_far(parts: Parts, run: str, upload_id: str) -> int:
    _find_upload(parts, run, upload_id)
    return sum(artifacts.sizes(parts.settings, key_path(run, upload_id)).values())


def _find_upload(parts: Parts, run: str, upload_id: str) -> None:
    with reading(parts.engine) as connection:
        writable(connection, run)
        if not is_loose(connection, run, upload_id):
            raise NotFound(f"no upload '{upload_id[:40]}' of this run; it was completed, dropped or not begun")


def complete_parts(parts: Parts, run: str, path: str, upload_id: str, order: Sequence[Part]) -> None:
    """Join the parts of an upload to a file. Raises NotFound, Conflict, Invalid; it can then be tried again."""
    checked_path(path)
    _find_upload(parts, run, upload_id)
    known = artifacts.sizes(parts.settings, key_path(run, upload_id))
    if not order or [part.number for part in order] != list(range(1, len(order) + 1)):
        raise Invalid("the parts must be numbered from 1 on, without gaps")
    for part in order:
        if not PART_TOKEN.fullmatch(part.token) or part.name not in known:
            raise Invalid(f"part {part.number:,} of the upload is missing; send it again")
    size = sum(known[part.name] for part in order)
    key = _begin(parts, run, path, size)
    try:
        with disk(), artifacts.writing(parts.settings, key_path(run, key)) as file:
            for part in order:
                for chunk in artifacts.chunks(parts.settings, key_path(run, f"{upload_id}/{part.name}"), BUFFER_BYTES):
                    file.write(chunk)
        replaced = _finish(parts, run, path, key, size)
    except BaseException:
        # Whatever ended it: the half of a file belongs to none, and the parts stay for another attempt.
        _drop(parts, run, [key])
        raise
    _drop(parts, run, [upload_id, *replaced])


def abort_parts(parts: Parts, run: str, upload_id: str) -> None:
    """Drop an upload with its parts. Raises NotFound, Conflict."""
    _find_upload(parts, run, upload_id)
    _drop(parts, run, [upload_id])


# Reading and deletion ------------------------------------------------------------------------------------------------


def logged_files(parts: Parts, run: str, folder: str = "", *, models: bool = False) -> list[FileRecord]:
    """The files of a logged run, also one in the trash; ``models``: with those of its models.

    Raises NotFound, Conflict.
    """
    find(parts, run)
    with reading(parts.engine) as connection:
        files = list_files(connection, run, folder)
        return files if models else _without_models(connection, run, files)


def _without_models(connection: Connection, run: str, files: list[FileRecord]) -> list[FileRecord]:
    folders = model_folders(connection, run)
    return [file for file in files if "/".join(file.path.split("/", 2)[:2]) not in folders] if folders else files


def logged_file(parts: Parts, run: str, path: str) -> FileRecord:
    """A file of a logged run, also of one in the trash. Raises NotFound, Conflict."""
    find(parts, run)
    with reading(parts.engine) as connection:
        found = find_file(connection, run, path)
    if found is None:
        raise NotFound(f"run {run} has no file '{path[:100]}'")
    return found


def delete_logged(parts: Parts, run: str, path: str, *, models: bool = False) -> None:
    """Delete a file, or all files in a folder; a blank path: all files. ``models``: with those of the run's models.

    Raises NotFound, Conflict.
    """
    now = time.time()
    with writing(parts.engine) as connection:
        writable(connection, run, metadata_only=True)
        file = find_file(connection, run, path) if path else None
        doomed = [file] if file else list_files(connection, run, path)
        if not models:
            doomed = _without_models(connection, run, doomed)
        if path and not doomed:
            raise NotFound(f"run {run} has no file '{path[:100]}'")
        commit = next_commit(connection)
        delete_files(connection, run, doomed, now)
    pubsub.notify_servers(parts.redis, commit, {run: {"progress"}})
    _drop(parts, run, [each.key for each in doomed])

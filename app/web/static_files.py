"""Styles, scripts and browser libraries, served from memory."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope


@dataclass(frozen=True)
class _Kept:
    """A file's content, and what its inode and time were when it was read."""

    path: Path
    version: tuple[int, int, int]
    content: bytes
    headers: dict[str, str]


class FilesInMemory(StaticFiles):
    """Static files that are read once; one that has changed since is read again.

    Browsers revalidate them on each use, so that no outdated file stays in their cache.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self._kept: dict[str, _Kept] = {}

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer without a thread if the file is in memory."""
        kept = self._kept.get(path)
        if kept is None or _version(kept.path) != kept.version:
            kept = await run_in_threadpool(self._read, path)
        if kept is None or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        response = Response(kept.content if scope["method"] == "GET" else b"", headers=kept.headers)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response

    def _read(self, path: str) -> _Kept | None:
        """Keep a file; None if there is none."""
        try:
            full, _ = self.lookup_path(path)
        except (OSError, ValueError):
            # A name that is too long, or has a NUL character.
            return None
        version = _version(Path(full)) if full else None
        if version is None:
            self._kept.pop(path, None)
            return None
        content = Path(full).read_bytes()
        kind = mimetypes.guess_type(full)[0] or "application/octet-stream"
        headers = {
            "content-type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
            "content-length": str(len(content)),
            "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            "cache-control": "no-cache",
        }
        kept = self._kept[path] = _Kept(Path(full), version, content, headers)
        return kept


def _version(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file's content; None if it is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

"""Writes a multipart request to disk while it arrives, whatever its size."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from app.contract.errors import Invalid

if TYPE_CHECKING:
    # Exists in its type stubs only.
    from python_multipart.multipart import MultipartCallbacks

BUFFER_BYTES = 2**20
MAX_FIELD_BYTES = 2**20
MAX_FILES = 2_000_000
MAX_NAME_BYTES = 200


class Upload:
    """A request's fields, and its files under ``folder`` with the names, and the subfolders, that they were sent with.

    ``files``: paths relative to the folder. Raises Invalid for a request that is not a valid multipart form.
    """

    def __init__(self, folder: Path, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Invalid("send a multipart form with the fields name and file")
        self.folder = folder
        self.fields: dict[str, str] = {}
        self.files: list[str] = []
        self._taken: set[str] = set()
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._field = ""
        self._content = b""
        self._file: IO[bytes] | None = None
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_content,
            "on_part_data": self._add_content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        self._parser = MultipartParser(options[b"boundary"], callbacks)

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Read the whole request. Raises Invalid, and OSError if the disk is full."""
        waiting: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                waiting.append(chunk)
                size += len(chunk)
                if size >= BUFFER_BYTES:
                    await run_in_threadpool(self._write, b"".join(waiting))
                    waiting, size = [], 0
            await run_in_threadpool(self._write, b"".join(waiting))
        except MultipartParseError as error:
            raise Invalid("the form is not valid multipart data") from error
        finally:
            if self._file is not None:
                self._file.close()
        if not self._ended:
            raise Invalid("the form ends before its last part")

    def _write(self, data: bytes) -> None:
        if data:
            self._parser.write(data)

    # The parser's callbacks, in the order in which it calls them ------------------------------------------------------

    def _begin(self) -> None:
        self._disposition = self._header = self._value = self._content = b""
        self._field = ""

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _start_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            return
        if len(self.files) >= MAX_FILES:
            raise Invalid(f"an upload can have at most {MAX_FILES:,} files; upload an archive instead")
        name = self._free_name(safe_path(options[b"filename"].decode("utf-8", "replace")))
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")
        self.files.append(name)

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._content += data[start:end]
        if len(self._content) > MAX_FIELD_BYTES:
            raise Invalid(f"field {self._field[:40]} can have at most {MAX_FIELD_BYTES // 2**20} MiB")

    def _end_part(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        else:
            self.fields[self._field] = self._content.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True

    def _free_name(self, name: str) -> str:
        """This name, or one like it that no earlier file has, nor a folder: file systems may ignore case."""
        base, ending = os.path.splitext(name)
        number, free = 1, name
        while free.casefold() in self._taken:
            number += 1
            free = f"{base} ({number}){ending}"
        self._taken.add(free.casefold())
        for parent in Path(free).parents:
            self._taken.add(str(parent).casefold())
        return free


def safe_path(name: str) -> str:
    """A relative path without ``..``, drive letters, control characters and names that are too long for a disk."""
    parts = [_safe_part(part) for part in name.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part) or "file"


def _safe_part(part: str) -> str:
    part = "".join(each for each in unicodedata.normalize("NFC", part) if each.isprintable() and each != ":").strip()
    if part in (".", ".."):
        return ""
    encoded = part.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return part
    # Names that differ only in their end stay different, and keep what tells their format.
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    base, ending = os.path.splitext(part)
    ending = ending if len(ending.encode()) <= 12 else ""
    return f"{base.encode()[: MAX_NAME_BYTES - 30].decode(errors='ignore')}-{digest}{ending}"

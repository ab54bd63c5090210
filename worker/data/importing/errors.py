"""How an import ends early, and the sentence that says why."""

from __future__ import annotations

import errno
import lzma
import tarfile
import zipfile
import zlib

from worker.reporting.error_text import reason

_FULL = (errno.ENOSPC, errno.EDQUOT)


class ImportFailed(Exception):
    """The import cannot be done. The message is one sentence for the user."""


class ImportCancelled(Exception):
    """The user has cancelled the import."""


class Unusable(Exception):
    """One file cannot be used. ``kind`` as in `SkippedFile`; the message is a sentence fragment."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(kind, why)  # all arguments, so that it can be sent to another process
        self.kind = kind
        self.why = why

    def __str__(self) -> str:
        return self.why


def sentence(error: BaseException) -> str:
    """Why the import failed, in one sentence."""
    if isinstance(error, ImportFailed):
        return str(error)
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return "the disk is full; free some space and import again"
        if error.filename is not None:
            return f"could not read or write {printable(error.filename)} ({reason(error)})"
        return f"could not read or write a file ({reason(error)})"
    if isinstance(error, (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError)):
        return "the source is damaged or truncated"
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs and import again"
    return f"{type(error).__name__}: {reason(error)}"


def printable(path: object) -> str:
    """A path as text that can be written as UTF-8, whatever bytes are in it."""
    text = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else str(path)
    return text.encode("utf-8", "backslashreplace").decode()

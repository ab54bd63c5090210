"""Sends a run's file so that a browser never executes anything in it, whatever its content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse

from app.contract.run_files import INLINE, suffix_of
from app.contract.settings import Settings
from app.services.run_files import StoredFile, open_file

SAFE_HEADERS = {
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def attachment(name: str, disposition: str = "attachment") -> str:
    """A content-disposition with a name in any script: the plain one for old programs, the exact one for all others."""
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in name)
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


def file_response(settings: Settings, file: StoredFile, wanted_range: str = "", download: bool = False) -> Response:
    """Stream a file, or the part that a Range header wants. Raises NotFound if it is gone.

    Only images and sounds of known types are shown in place, unless ``download``; everything else is saved.
    """
    media = INLINE.get(suffix_of(file.path))
    headers = SAFE_HEADERS | {
        "content-disposition": attachment(file.name, "inline" if media and not download else "attachment")
    }
    first, most, status = 0, None, 200
    if file.size is not None:
        headers |= {"accept-ranges": "bytes"}
        found = _span(wanted_range, file.size)
        if found is not None and found[1] <= 0:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{file.size}"})
        if found is not None:
            (first, most), status = found, 206
            headers |= {"content-range": f"bytes {first}-{first + found[1] - 1}/{file.size}"}
        headers |= {"content-length": str(file.size if found is None else found[1])}
    chunks: Iterator[bytes] = open_file(settings, file, first, most)
    return StreamingResponse(chunks, status, headers, media or "application/octet-stream")


def _span(wanted: str, size: int) -> tuple[int, int] | None:
    """First byte and number of bytes of a range; not above 0 if there are none. None: no range that can be served."""
    found = _RANGE.fullmatch(wanted.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        most = min(int(found[2]), size)
        return size - most, most
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    return first, last - first + 1

"""Names of a run's files: what a script may call them, and what a name says about the content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from app.contract.errors import Invalid

MAX_PATH: Final = 1000
"""Characters of a path."""
MAX_NAME_BYTES: Final = 255
"""Bytes of each part of a path, in UTF-8: what file systems take."""
MAX_FILES: Final = 100_000
"""Files of one run."""

FileKind = Literal["image", "audio", "text", "json", "csv", "pdf", "parquet", "other"]

INLINE: Final[dict[str, str]] = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
}
"""Media types that a browser may show by itself: nothing in them can be executed. SVG is not among them."""

_KINDS: Final[dict[str, FileKind]] = {
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".pdf": "pdf",
    ".parquet": "parquet",
}
_DRIVE = re.compile(r"[A-Za-z]:")


def checked_path(path: str) -> str:
    """Return a relative path as it was given. Raises Invalid for one that could lead anywhere else."""
    shown = path[:60].encode("unicode_escape").decode()
    if not path:
        raise Invalid("the name of the file is missing")
    if len(path) > MAX_PATH:
        raise Invalid(f"the path of a file can have at most {MAX_PATH:,} characters, not {len(path):,}")
    if not path.isprintable():
        raise Invalid(f"the path '{shown}' contains control characters or other characters that cannot be printed")
    if "\\" in path:
        raise Invalid(f"the path '{path[:60]}' contains a backslash; separate folders with '/'")
    if path.startswith("/") or _DRIVE.match(path):
        raise Invalid(f"the path '{path[:60]}' is absolute; it must be relative to the run's files")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise Invalid(f"the path '{path[:60]}' contains '{part}' as a name; it must stay among the run's files")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise Invalid(f"each name in a path can have at most {MAX_NAME_BYTES} bytes, not {len(part.encode()):,}")
    return path


def suffix_of(path: str) -> str:
    """The suffix of a file's name in lower case, with its dot; empty if it has none."""
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if dot else ""


def kind_of(path: str) -> FileKind:
    """What a file is shown as, by its name; "other" may still turn out to be text."""
    suffix = suffix_of(path)
    if suffix in INLINE:
        return "image" if INLINE[suffix].startswith("image/") else "audio"
    return _KINDS.get(suffix, "other")


# Images logged by step ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SteppedImage:
    """An image as ``mlflow.log_image(image, key, step)`` names it; ``timestamp`` in milliseconds since 1970.

    ``compressed``: the smaller copy that the client adds to each image.
    """

    key: str
    step: int
    timestamp: int
    compressed: bool


# Newer clients write "+" and "~" for "%" and "#".
_STEPPED = re.compile(
    r"images/([^/]+?)([+%])step\2(-?\d{1,19})\2timestamp\2(\d{1,18})\2[0-9a-fA-F-]+(\2compressed)?"
    r"\.(?:png|webp|jpg|gif)"
)


def stepped_image(path: str) -> SteppedImage | None:
    """What the name of an image logged by step says; None for any other file."""
    found = _STEPPED.fullmatch(path)
    if found is None:
        return None
    key = found[1].replace("#" if found[2] == "%" else "~", "/")
    return SteppedImage(key, int(found[3]), int(found[4]), found[5] is not None)


MAX_KEY_BYTES: Final = 150
"""Bytes of a key in the name of an image."""


def stepped_path(key: str, step: int, timestamp: int, identity: str, suffix: str) -> str:
    """The path of an image logged by step; ``identity``: hexadecimal digits, different for images of one step.

    Characters that a path cannot have are replaced, and a long key is cut off.
    """
    safe = "".join(each if each.isprintable() and each != "\\" else "_" for each in key).replace("/", "~")
    while len(safe.encode()) > MAX_KEY_BYTES:
        safe = safe[:-1]
    return f"images/{safe}+step+{step}+timestamp+{timestamp}+{identity}.{suffix}"

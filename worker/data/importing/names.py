"""Names of files in a source: decoding, sorting, and what they say about a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

TRAIN, VALIDATION, TEST = 0, 1, 2
NO_PART: Final = -1
"""An image for which the source gives no split."""

_PART_NAMES: Final = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval"), TEST),
}

IMAGE_ENDINGS: Final = frozenset(
    {
        *("jpg", "jpeg", "jpe", "jfif", "jp2", "j2k", "png", "webp", "bmp", "dib"),
        *("tif", "tiff", "gif", "ppm", "pgm", "pbm", "pnm", "avif", "mpo"),
    }
)
_HIDDEN: Final = frozenset(("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"))
_DIGITS: Final = re.compile(r"(\d+)")
_LETTER: Final = re.compile(r"[A-Za-z]")
_DRIVE: Final = re.compile(r"^[A-Za-z]:[\\/]")

NaturalKey = tuple[tuple[tuple[int, int, str], ...], str]


def natural_key(text: str) -> NaturalKey:
    """Key that sorts numbers in texts by value: "a2" before "a10"; different texts have different keys."""
    parts = []
    for place, part in enumerate(_DIGITS.split(text)):
        if place % 2:
            digits = part.lstrip("0")
            parts.append((0, len(digits), digits))
        elif part:
            parts.append((1, 0, part))
    return tuple(parts), text


def part_named(name: str) -> int:
    """TRAIN, VALIDATION or TEST if this is a usual name of that split, in any case; otherwise NO_PART."""
    return _PART_NAMES.get(name.strip().lower(), NO_PART)


def ending(path: str) -> str:
    """What follows the last dot of a file's name, in lower case; "" without a dot."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


def is_hidden(path: str) -> bool:
    """Whether a file or a folder in its path belongs to the operating system, or is hidden by a dot."""
    return any(
        part.lower() in _HIDDEN or (part.startswith(".") and part not in (".", "..")) for part in path.split("/")
    )


def unsafe(path: str) -> str:
    """Why a path may lead out of its folder, as a sentence fragment; "" if it cannot."""
    if path.startswith(("/", "\\")) or _DRIVE.match(path):
        return "its path is absolute"
    if ".." in path.replace("\\", "/").split("/"):
        return "its path points outside the source"
    if "\0" in path:
        return "its path contains a null byte"
    return ""


def clean(path: str) -> str:
    """The path without empty and "." parts; unchanged if it is absolute."""
    if path.startswith("/") or ("//" not in path and not path.startswith("./") and "/./" not in path):
        return path
    return "/".join(part for part in path.split("/") if part not in ("", "."))


class Names:
    """Names given as bytes of any encoding, decoded once all are known, so that each stays distinct.

    Names that are not UTF-8 are Japanese (cp932) if all of them can be and most look like it, otherwise Latin-1.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self.odd: dict[int, bytes] = {}
        """Bytes of the names that are not UTF-8, by place."""

    def __len__(self) -> int:
        return len(self._names)

    def add(self, raw: bytes) -> None:
        """Append a name."""
        try:
            self._names.append(raw.decode())
        except UnicodeDecodeError:
            self.odd[len(self._names)] = raw
            self._names.append("")

    def decoded(self) -> list[str]:
        """All names in the order they were added."""
        if self.odd:
            encoding = "cp932" if _looks_japanese(self.odd.values()) else "latin-1"
            taken = set(self._names)
            for place, raw in self.odd.items():
                name = plain = raw.decode(encoding)
                number = 1
                while name in taken:
                    number += 1
                    stem, dot, end = plain.rpartition(".")
                    name = f"{stem}~{number}{dot}{end}" if dot else f"{plain}~{number}"
                taken.add(name)
                self._names[place] = name
        return self._names


def text_of(raw: bytes) -> str:
    """The text of a small file of any encoding: UTF-8, UTF-16 with a mark, Japanese or Latin-1."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp932" if _looks_japanese([raw]) else "latin-1")


def _looks_japanese(raws: Iterable[bytes]) -> bool:
    """Whether the bytes are likely to be cp932: all can be decoded, and few of its letters stand next to ASCII ones.

    Bytes of Latin-1 that happen to be valid cp932 are accented letters within words: read as cp932, each swallows the
    letter after it and stands beside other ASCII letters.
    """
    lonely = beside = 0
    for raw in raws:
        try:
            text = raw.decode("cp932")
        except UnicodeDecodeError:
            return False
        for place, letter in enumerate(text):
            if not letter.isascii():
                around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
                beside += bool(_LETTER.search(around))
                lonely += not _LETTER.search(around)
    return lonely >= beside

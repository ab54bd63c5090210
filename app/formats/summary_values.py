"""Values in TensorBoard event files: scalars, images, histograms and texts, in the encodings of both its versions.

The first version has a field for each kind. The second writes tensors; only the first value of a tag names the plugin
that shows it, and so the kind.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from app.contract.errors import Invalid
from app.contract.histogram import Histogram, checked_histogram
from app.formats.event_encoding import (
    BrokenFile,
    bytes_of,
    double_of,
    encode,
    encode_varint,
    fields_of,
    signed_of,
    text_of,
    varint_at,
)

MAX_IMAGE_BYTES: Final = 32 * 2**20
MAX_IMAGES: Final = 64
"""Images of one value."""
MAX_TEXT: Final = 200_000
"""Characters of a text."""
SIGNATURES: Final = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif"}
"""How images begin, and the suffix of their files."""
MOST_KINDS: Final = 20
"""Kinds of values that are counted by name when they are left out."""


@dataclass(frozen=True)
class Scalar:
    """A value of a tag; ``time`` in seconds since 1970."""

    tag: str
    step: int
    value: float
    time: float


@dataclass(frozen=True)
class ImageValue:
    """An image as it was encoded. ``suffix``: of its file. ``time``: seconds since 1970."""

    tag: str
    step: int
    content: bytes
    suffix: str
    time: float


@dataclass(frozen=True)
class HistogramValue:
    """A histogram of a tag; ``time`` in seconds since 1970."""

    tag: str
    step: int
    histogram: Histogram
    time: float


@dataclass(frozen=True)
class TextValue:
    """A text of a tag, which may be Markdown; ``time`` in seconds since 1970."""

    tag: str
    step: int
    text: str
    time: float


Value = Scalar | ImageValue | HistogramValue | TextValue


@dataclass
class EventMetadata:
    """What event files contain besides values; ``outcome``: blank if they do not record how the run ended.

    ``damaged``: number of places where one or more records are damaged. ``not_kept``: number of values that are left
    out, by what they are.
    """

    parameters: dict[str, str] = field(default_factory=dict)
    outcome: str = ""
    plugins: dict[str, str] = field(default_factory=dict)
    damaged: int = 0
    not_kept: Counter[str] = field(default_factory=Counter)

    def leave_out(self, kind: str, number: int = 1) -> None:
        """Count values that are left out."""
        known = kind in self.not_kept or len(self.not_kept) < MOST_KINDS
        self.not_kept[kind if known else "other"] += number


# Reading -------------------------------------------------------------------------------------------------------------


def read_value(message: bytes, step: int, time: float, metadata: EventMetadata) -> list[Value]:
    """Decode a value of a summary; an empty list for what is no scalar, image, histogram or text. Raises BrokenFile."""
    tag, plugin, content = "", "", b""
    simple: float | None = None
    # Images, histograms, sounds and tensors.
    parts: dict[int, bytes] = {}
    for number, value in fields_of(message):
        if number == 1:
            tag = text_of(value)
        elif number == 2:
            simple = double_of(value)
        elif number in (4, 5, 6, 8):
            parts[number] = bytes_of(value)
        elif number == 9:
            plugin, content = _plugin(bytes_of(value))
    if plugin == "hparams":
        _read_parameters(content, metadata)
        return []
    if plugin and 8 in parts:
        metadata.plugins[tag] = plugin
    if simple is not None:
        return [Scalar(tag, step, simple, time)]
    if 4 in parts:
        return _images(tag, step, [_first_version_image(parts[4])], time, metadata)
    if 5 in parts:
        return _histogram(tag, step, *_first_version_histogram(parts[5]), time, metadata)
    if 8 in parts:
        return _tensor(tag, step, parts[8], time, metadata)
    if 6 in parts:
        metadata.leave_out("audio")
    return []


def _plugin(message: bytes) -> tuple[str, bytes]:
    name, content = "", b""
    for number, value in fields_of(message):
        if number == 1:
            for inner, inner_value in fields_of(bytes_of(value)):
                if inner == 1:
                    name = text_of(inner_value)
                elif inner == 2:
                    content = bytes_of(inner_value)
    return name, content


def _first_version_image(message: bytes) -> bytes:
    return next((bytes_of(value) for number, value in fields_of(message) if number == 4), b"")


def _images(tag: str, step: int, contents: Sequence[bytes], time: float, metadata: EventMetadata) -> list[Value]:
    found: list[Value] = []
    for number, content in enumerate(contents):
        suffix = next((suffix for start, suffix in SIGNATURES.items() if content.startswith(start)), "")
        if not suffix:
            metadata.leave_out("images that are not PNG, JPEG or GIF")
        elif len(content) > MAX_IMAGE_BYTES:
            metadata.leave_out(f"images of more than {MAX_IMAGE_BYTES // 2**20} MiB")
        elif number >= MAX_IMAGES:
            metadata.leave_out(f"images beyond {MAX_IMAGES} of a step")
        else:
            name = f"{tag}/{number}" if len(contents) > 1 else tag
            found.append(ImageValue(name, step, content, suffix, time))
    return found


def _first_version_histogram(message: bytes) -> tuple[list[float], list[float]]:
    """Edges and counts: the limits are those to the right of each bucket, and the outermost may lie far outside."""
    low, high = 0.0, 0.0
    limits, counts = b"", b""
    for number, value in fields_of(message):
        if number == 1:
            low = double_of(value)
        elif number == 2:
            high = double_of(value)
        elif number == 6:
            limits += bytes_of(value)
        elif number == 7:
            counts += bytes_of(value)
    edges = [low, *_doubles(limits)]
    if low <= high:
        edges = [min(max(edge, low), high) for edge in edges]
    return edges, _doubles(counts)


def _doubles(packed: bytes) -> list[float]:
    if len(packed) % 8:
        raise BrokenFile("an event field has an invalid length")
    return list(struct.unpack(f"<{len(packed) // 8}d", packed))


def _histogram(
    tag: str, step: int, edges: list[float], counts: list[float], time: float, metadata: EventMetadata
) -> list[Value]:
    if not counts:
        metadata.leave_out("histograms without buckets")
        return []
    try:
        return [HistogramValue(tag, step, checked_histogram(edges, counts), time)]
    except Invalid:
        metadata.leave_out("invalid histograms")
        return []


def _read_parameters(content: bytes, metadata: EventMetadata) -> None:
    for number, value in fields_of(content):
        if number == 3:  # start of a session, with its hyperparameters
            for inner, inner_value in fields_of(bytes_of(value)):
                if inner == 1:
                    name, parameter = _entry(bytes_of(inner_value))
                    metadata.parameters[name] = parameter
        elif number == 4:  # end of a session
            status = next((inner_value for inner, inner_value in fields_of(bytes_of(value)) if inner == 1), 0)
            outcomes = {1: "succeeded", 2: "failed"}
            metadata.outcome = outcomes.get(status if isinstance(status, int) else 0, metadata.outcome)


def _entry(message: bytes) -> tuple[str, str]:
    name, text = "", ""
    for number, value in fields_of(message):
        if number == 1:
            name = text_of(value)
        elif number == 2:
            for kind, parameter in fields_of(bytes_of(value)):
                if kind == 2:
                    number_value = double_of(parameter)
                    text = repr(number_value) if number_value % 1 else f"{number_value:.0f}"
                elif kind == 3:
                    text = text_of(parameter)
                elif kind == 4:
                    text = "true" if parameter else "false"
    return name, text


# Tensors -------------------------------------------------------------------------------------------------------------

_CONTENT = {1: "f", 2: "d", 3: "i", 9: "q", 19: "e"}
# Fields with the values of a tensor, and their encodings.
_VALUES = {5: (1, "f"), 6: (2, "d")}


@dataclass
class _Tensor:
    """``kind``: of its values, as TensorFlow numbers types."""

    kind: int = 1
    content: bytes = b""
    numbers: dict[int, bytes] = field(default_factory=dict)
    whole: list[int] = field(default_factory=list)
    strings: list[bytes] = field(default_factory=list)

    def floats(self) -> list[float]:
        """Its values; empty if they are not numbers. Raises BrokenFile."""
        encoding = _CONTENT.get(self.kind)
        if self.content and encoding:
            return _unpacked(self.content, encoding)
        for kind, encoding in _VALUES.values():
            if kind in self.numbers:
                return _unpacked(self.numbers[kind], encoding)
        return [float(number) for number in self.whole]


def _unpacked(content: bytes, encoding: str) -> list[float]:
    count, rest = divmod(len(content), struct.calcsize(f"<{encoding}"))
    if rest:
        raise BrokenFile("a tensor has an invalid length")
    return [float(number) for number in struct.unpack(f"<{count}{encoding}", content)]


def _read_tensor(message: bytes) -> _Tensor:
    tensor = _Tensor()
    for number, value in fields_of(message):
        if number == 1 and isinstance(value, int):
            tensor.kind = value
        elif number == 4:
            tensor.content = bytes_of(value)
        elif number in _VALUES:
            kind, _ = _VALUES[number]
            tensor.numbers[kind] = tensor.numbers.get(kind, b"") + bytes_of(value)
        elif number == 8:
            tensor.strings.append(bytes_of(value))
        elif number in (7, 10):
            tensor.whole += [signed_of(value)] if isinstance(value, int) else _varints(value)
    return tensor


def _varints(packed: bytes) -> list[int]:
    found, at = [], 0
    while at < len(packed):
        number, at = varint_at(packed, at)
        found.append(signed_of(number))
    return found


def _tensor(tag: str, step: int, message: bytes, time: float, metadata: EventMetadata) -> list[Value]:
    plugin = metadata.plugins.get(tag, "")
    tensor = _read_tensor(message)
    if plugin == "scalars":
        numbers = tensor.floats()
        return [Scalar(tag, step, numbers[0], time)] if len(numbers) == 1 else []
    if plugin == "images":
        # The first two are width and height.
        return _images(tag, step, tensor.strings[2:], time, metadata)
    if plugin == "histograms":
        return _histogram(tag, step, *_second_version_histogram(tensor.floats()), time, metadata)
    if plugin == "text":
        return _text(tag, step, tensor.strings, time, metadata)
    metadata.leave_out(plugin.replace("_", " ")[:40] or "tensors")
    return []


def _second_version_histogram(numbers: list[float]) -> tuple[list[float], list[float]]:
    """Edges and counts of rows of three numbers: left edge, right edge, count."""
    if len(numbers) % 3:
        raise BrokenFile("a histogram has an invalid length")
    return [*numbers[0::3], *numbers[1::3][-1:]], numbers[2::3]


def _text(tag: str, step: int, strings: Sequence[bytes], time: float, metadata: EventMetadata) -> list[Value]:
    # The writer of torch adds this to each name.
    tag = tag.removesuffix("/text_summary") or tag
    text = "\n\n".join(each.decode("utf-8", "replace") for each in strings).replace("\0", "\ufffd")
    if len(text) > MAX_TEXT:
        metadata.leave_out(f"texts of more than {MAX_TEXT:,} characters")
        return []
    return [TextValue(tag, step, text, time)]


# Writing -------------------------------------------------------------------------------------------------------------


def encode_value(value: Value) -> bytes:
    """Encode a value of a summary, in the first version's encoding where there is one."""
    tag = encode(1, 2, value.tag.encode())
    if isinstance(value, Scalar):
        return tag + encode(2, 5, _single(value.value))
    if isinstance(value, ImageValue):
        return tag + encode(4, 2, encode(4, 2, value.content))
    if isinstance(value, HistogramValue):
        return tag + encode(5, 2, _histogram_message(value.histogram))
    tensor = encode(1, 0, encode_varint(7)) + encode(2, 2, b"") + encode(8, 2, value.text.encode())
    plugin = encode(9, 2, encode(1, 2, encode(1, 2, b"text")))
    return tag + encode(8, 2, tensor) + plugin


def _histogram_message(histogram: Histogram) -> bytes:
    edges, counts = histogram.edges, histogram.counts
    ends = encode(1, 1, struct.pack("<d", edges[0])) + encode(2, 1, struct.pack("<d", edges[-1]))
    middles = [low + (high - low) / 2 for low, high in pairwise(edges)]
    pairs = list(zip(counts, middles, strict=True))
    sums = (sum(counts), sum(n * x for n, x in pairs), sum(n * x * x for n, x in pairs))
    numbers = b"".join(encode(3 + i, 1, struct.pack("<d", number)) for i, number in enumerate(sums))
    packed = [struct.pack(f"<{len(each)}d", *each) for each in (edges[1:], counts)]
    return ends + numbers + encode(6, 2, packed[0]) + encode(7, 2, packed[1])


def _single(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        # Too large for 32 bits.
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))

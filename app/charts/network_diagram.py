"""Diagram of a network as a row of blocks with the tensors between them, from the inspector's view of the real module.

Each block is a separate cell, so that a row can wrap. Coordinates are in the cell's viewBox;
`_architectures_blocks.html` renders them.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.contract.preview import Block

CELL_HEIGHT = 98
# Width of the gap before a block, which contains its input tensor.
GAP = 58
TENSOR_X, TENSOR_Y = 27.0, 44.0
NAME_LETTERS, LETTERS, SHAPE_LETTERS = 13, 16, 9
LINES = 3

Polygon = tuple[tuple[float, float], ...]

# What a class does, by a word in its name; the first match counts, so "ConvNormAct" is a convolution.
_SORTS = (
    ("attention", ("attention",)),
    ("conv", ("conv", "patch")),
    ("norm", ("norm", "grn")),
    ("pool", ("pool", "flatten", "mean", "identity")),
    ("dropout", ("drop",)),
    ("activation", ("relu", "gelu", "silu", "swish", "tanh", "sigmoid", "softmax")),
    ("linear", ("linear", "head", "mlp", "perceptron", "excitation")),
)


@dataclass(frozen=True)
class Tensor:
    """The input of a block: its faces as (side, polygon), its extent from ``left`` to ``right``, and its shape as one
    or two lines of text."""

    faces: list[tuple[str, str]]
    label: list[str]
    left: float
    right: float


@dataclass(frozen=True)
class Cell:
    """A tensor and the block that it flows into; the last cell has no block.

    ``sort``: what the block does, for its color. ``share``: its fraction of the network's parameters. ``behind``: the
    number of edges drawn behind it for repeated blocks. ``words``: a description as text.
    """

    tensor: Tensor
    words: str
    name: list[str]
    about: list[str]
    params: str
    sort: str
    repeat: int
    share: float
    behind: int
    first: bool
    last: bool


@dataclass(frozen=True)
class Row:
    """Blocks in the order in which an image passes through them; ``title``: the block they belong to."""

    title: str
    cells: list[Cell]


@dataclass(frozen=True)
class Diagram:
    """A network, and one block of each kind with its parts."""

    network: Row
    opened: list[Row]


def draw_blocks(blocks: list[Block], image: list[int]) -> Diagram:
    """Draw the diagram of a network of these blocks on images of shape (channels, side, side)."""
    total = sum(block.params * block.repeat for block in blocks)
    network = Row("", list(_cells(blocks, image, total)))
    opened = []
    for block, input_shape in _largest_of_each_kind(blocks, image):
        opened.append(Row(_title(block), list(_cells(block.parts, input_shape, block.params))))
    return Diagram(network, opened)


def _largest_of_each_kind(blocks: list[Block], image: list[int]) -> list[tuple[Block, list[int]]]:
    by_kind: dict[str, tuple[Block, list[int]]] = {}
    input_shape = image
    for block in blocks:
        # In a series of repeated blocks, the input of all but the first has the output shape.
        inside = block.shape if block.repeat > 1 else input_shape
        largest = by_kind.get(block.kind)
        if len(block.parts) > 1 and (
            largest is None or block.params * block.repeat > largest[0].params * largest[0].repeat
        ):
            by_kind[block.kind] = (block, inside)
        input_shape = block.shape
    return list(by_kind.values())


def _title(block: Block) -> str:
    # A layer with its normalization and activation has the layer's class; other blocks have a class name of their own.
    if any(part.kind == block.kind for part in block.parts):
        return f"{block.name}, {block.about}" if block.about else block.name
    return block.name if block.name == block.kind else f"{block.name} ({block.kind})"


def _cells(blocks: Iterable[Block], image: list[int], total: int) -> Iterator[Cell]:
    input_shape = image
    for i, block in enumerate(blocks):
        params = block.params * block.repeat
        yield Cell(
            tensor=draw_tensor(input_shape),
            words=describe_block(block),
            name=(name := _wrap(block.name, NAME_LETTERS, 2)),
            about=_wrap(block.about, LETTERS, LINES - len(name)),
            params=_format_params(params),
            sort=sort_of(block),
            repeat=block.repeat,
            share=params / total if total else 0.0,
            behind=min(2, block.repeat - 1),
            first=i == 0,
            last=False,
        )
        input_shape = block.shape
    yield Cell(
        draw_tensor(input_shape), f"output: {_format_shape(input_shape)}", [], [], "", "", 1, 0.0, 0, False, True
    )


def sort_of(block: Block) -> str:
    """Return what a block does, by its class name; "block" for other composite blocks."""
    made_of_others = len(block.parts) > 1
    for name in (block.kind,) if made_of_others else (block.kind, block.name):
        for sort, words in _SORTS:
            if any(word in name.lower() for word in words):
                return sort
    return "block" if made_of_others else "other"


def describe_block(block: Block) -> str:
    """Describe a block as text: "4 × Block, depthwise 7×7: output 48×7×7, 79,104 parameters"."""
    times = f"{block.repeat} × " if block.repeat > 1 else ""
    about = f", {block.about}" if block.about else ""
    params = block.params * block.repeat
    parameters = f"{params:,} parameter{'s' if params != 1 else ''}" if params else "no parameters"
    return f"{times}{block.name}{about}: output {_format_shape(block.shape)}, {parameters}"


def _format_shape(shape: list[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _format_params(params: int) -> str:
    if not params:
        return ""
    return f"{params / 1e6:.3g}M params" if params >= 1_000_000 else f"{params:,} params"


def _wrap(text: str, letters: int, lines: int) -> list[str]:
    text = text.replace(" → ", "\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}")
    if any(len(word) > letters for word in text.split()):
        text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    lines_of_text = textwrap.wrap(text, letters, max_lines=max(lines, 1), placeholder=" …", break_on_hyphens=False)
    return lines_of_text if lines > 0 else []


# Tensors -------------------------------------------------------------------------------------------------------------


def draw_tensor(shape: list[int]) -> Tensor:
    """Draw a tensor: a slab for an image (side by channels), a sheet for a sequence, a bar for a vector.

    Sides scale with their square root and channels with their logarithm, so that 1 and 1,280 fit the same gap.
    """
    match shape:
        case [_, _, _]:
            faces = _slab(*_channels_first(shape))
        case [length, width]:
            faces = _sheet(length, width)
        case [length]:
            half = min(22.0, 3 + 2.2 * math.log2(max(1, length))) / 2
            faces = [("front", _rectangle(TENSOR_X - 3.5, TENSOR_Y - half, 7, 2 * half))]
        case _:
            faces = []
    across = [x for _, polygon in faces for x, _ in polygon] or [TENSOR_X]
    return Tensor([(side, _points(polygon)) for side, polygon in faces], _label(shape), min(across), max(across))


def _channels_first(shape: list[int]) -> tuple[int, int, int]:
    first, second, third = shape
    # Some parts use channels last; images are square, so the dimension that differs is the channels.
    return (third, first, second) if first == second != third else (first, second, third)


def _slab(channels: int, height: int, width: int) -> list[tuple[str, Polygon]]:
    tall, wide = (4 + 18 * math.sqrt(min(side, 64) / 32) for side in (height, width))
    depth = min(18.0, 1.5 + 1.9 * math.log2(max(1, channels)))
    dx, dy = depth * 0.8, depth * 0.5
    left, top = TENSOR_X - (wide + dx) / 2, TENSOR_Y - (tall - dy) / 2
    right, bottom = left + wide, top + tall
    return [
        ("top", ((left, top), (left + dx, top - dy), (right + dx, top - dy), (right, top))),
        ("side", ((right, top), (right + dx, top - dy), (right + dx, bottom - dy), (right, bottom))),
        ("front", _rectangle(left, top, wide, tall)),
    ]


def _sheet(length: int, width: int) -> list[tuple[str, Polygon]]:
    tall = 6 + 22 * math.sqrt(min(length, 64) / 64)
    wide = min(30.0, 6 + 2.8 * math.log2(max(1, width)))
    left, top = TENSOR_X - wide / 2, TENSOR_Y - tall / 2
    rows = min(6, length)
    height = tall / rows
    return [("front", _rectangle(left, top + i * height, wide, height)) for i in range(rows)]


def _rectangle(left: float, top: float, wide: float, tall: float) -> Polygon:
    return ((left, top), (left + wide, top), (left + wide, top + tall), (left, top + tall))


def _points(polygon: Polygon) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in polygon)


def _label(shape: list[int]) -> list[str]:
    text = "×".join(map(str, shape))
    if len(text) <= SHAPE_LETTERS:
        return [text] if text else []
    first, _, rest = text.partition("×")
    return [f"{first}×", rest]

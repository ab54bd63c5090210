"""A network as a row of blocks with what flows between them, drawn from what the inspector found in the real module.

Each block is a cell of its own, so that a row breaks wherever its page ends. Coordinates are those of a cell's viewBox;
`_architectures_blocks.html` writes them down.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.contract.preview import Block

CELL_HEIGHT = 98
# In which a tensor stands before its block.
GAP = 58
TENSOR_X, TENSOR_Y = 27.0, 44.0
NAME_LETTERS, LETTERS, SHAPE_LETTERS = 13, 16, 9
LINES = 3

Polygon = tuple[tuple[float, float], ...]

# What a class does, by a word in its name; the first that fits, so that a "ConvNormAct" is a convolution.
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
    """What flows into a block: its faces as polygons with the side they show, from ``left`` to ``right`` in the gap,
    and its shape in one line or two."""

    faces: list[tuple[str, str]]
    label: list[str]
    left: float
    right: float


@dataclass(frozen=True)
class Cell:
    """A tensor and the block that it flows into; the last cell has no block.

    ``sort``: what the block does, for its color. ``share``: of the network's parameters, 0 to 1. ``behind``: how many
    edges of equal blocks show behind it. ``words``: all of it as a sentence.
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
    """Blocks in the order in which an image passes through them; ``title`` says of what."""

    title: str
    cells: list[Cell]


@dataclass(frozen=True)
class Diagram:
    """A network, and below it one of each kind of its blocks opened up."""

    network: Row
    opened: list[Row]


def draw_blocks(blocks: list[Block], image: list[int]) -> Diagram:
    """The diagram of a network of these blocks on images of this shape (channels, side, side)."""
    total = sum(block.params * block.repeat for block in blocks)
    network = Row("", list(_cells(blocks, image, total)))
    opened = []
    for block, before in _largest_of_each_kind(blocks, image):
        opened.append(Row(_title(block), list(_cells(block.parts, before, block.params))))
    return Diagram(network, opened)


def _largest_of_each_kind(blocks: list[Block], image: list[int]) -> list[tuple[Block, list[int]]]:
    found: dict[str, tuple[Block, list[int]]] = {}
    before = image
    for block in blocks:
        # In a run of equal blocks, what flows into one but the first has the shape that flows out.
        inside = block.shape if block.repeat > 1 else before
        held = found.get(block.kind)
        if len(block.parts) > 1 and (held is None or block.params * block.repeat > held[0].params * held[0].repeat):
            found[block.kind] = (block, inside)
        before = block.shape
    return list(found.values())


def _title(block: Block) -> str:
    # A layer with its normalization and activation has the layer's class; another block's class is a name of its own.
    if any(part.kind == block.kind for part in block.parts):
        return f"{block.name}, {block.about}" if block.about else block.name
    return block.name if block.name == block.kind else f"{block.name} ({block.kind})"


def _cells(blocks: Iterable[Block], image: list[int], total: int) -> Iterator[Cell]:
    before = image
    for i, block in enumerate(blocks):
        params = block.params * block.repeat
        yield Cell(
            tensor=draw_tensor(before),
            words=in_words(block),
            name=(name := _broken(block.name, NAME_LETTERS, 2)),
            about=_broken(block.about, LETTERS, LINES - len(name)),
            params=_short(params),
            sort=sort_of(block),
            repeat=block.repeat,
            share=params / total if total else 0.0,
            behind=min(2, block.repeat - 1),
            first=i == 0,
            last=False,
        )
        before = block.shape
    yield Cell(draw_tensor(before), f"out: {_by(before)}", [], [], "", "", 1, 0.0, 0, False, True)


def sort_of(block: Block) -> str:
    """What a block does, as far as its class's name says it; "block" for another one that is made of others."""
    made_of_others = len(block.parts) > 1
    for said in (block.kind,) if made_of_others else (block.kind, block.name):
        for sort, words in _SORTS:
            if any(word in said.lower() for word in words):
                return sort
    return "block" if made_of_others else "other"


def in_words(block: Block) -> str:
    """A block as a sentence: "4 × Block, depthwise 7×7: gives 48×7×7, 79,104 parameters"."""
    times = f"{block.repeat} × " if block.repeat > 1 else ""
    about = f", {block.about}" if block.about else ""
    params = block.params * block.repeat
    learns = f"{params:,} parameter{'s' if params != 1 else ''}" if params else "no parameters"
    return f"{times}{block.name}{about}: gives {_by(block.shape)}, {learns}"


def _by(shape: list[int]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _short(params: int) -> str:
    if not params:
        return ""
    return f"{params / 1e6:.3g} M params" if params >= 1_000_000 else f"{params:,} params"


def _broken(words: str, letters: int, lines: int) -> list[str]:
    words = words.replace(" → ", "\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}")
    if any(len(word) > letters for word in words.split()):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", words)
    found = textwrap.wrap(words, letters, max_lines=max(lines, 1), placeholder=" …", break_on_hyphens=False)
    return found if lines > 0 else []


# Tensors -------------------------------------------------------------------------------------------------------------


def draw_tensor(shape: list[int]) -> Tensor:
    """A tensor: a slab as wide as its side and as deep as its channels, a sheet for a sequence, a bar for a vector.

    Sides are drawn by their square root and channels by their logarithm, so that 1 and 1,280 fit the same gap.
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
    # Some parts work with the channels last; images are square, so the odd one out is the channels.
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
    written = "×".join(map(str, shape))
    if len(written) <= SHAPE_LETTERS:
        return [written] if written else []
    first, _, rest = written.partition("×")
    return [f"{first}×", rest]

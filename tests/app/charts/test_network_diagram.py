"""Network diagrams: tensors between blocks, shares of parameters, and descriptions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.charts.network_diagram import CELL_HEIGHT, GAP, Tensor, describe_block, draw_blocks, draw_tensor, sort_of
from app.contract.preview import Block


def block(
    name: str, shape: list[int], params: int = 0, kind: str = "", about: str = "", repeat: int = 1, *parts: Block
) -> Block:
    return Block(
        name=name, kind=kind or name, about=about, shape=shape, params=params, repeat=repeat, parts=list(parts)
    )


def corners(tensor: Tensor) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for _, points in tensor.faces for pair in points.split()]
    return [(float(x), float(y)) for x, y in pairs]


numbers = st.integers(1, 100_000)


@given(st.lists(numbers, max_size=4))
def test_a_tensor_of_any_shape_stays_in_its_gap(shape: list[int]) -> None:
    tensor = draw_tensor(shape)
    assert bool(tensor.faces) == (1 <= len(shape) <= 3)
    assert all(0 <= x <= GAP - 5 and 0 <= y <= CELL_HEIGHT - 30 for x, y in corners(tensor)), corners(tensor)
    assert 0 <= tensor.left <= tensor.right <= GAP - 5
    assert "".join(tensor.label) == "×".join(map(str, shape))


def test_more_channels_are_drawn_deeper_and_larger_images_larger() -> None:
    def width(shape: list[int]) -> float:
        tensor = draw_tensor(shape)
        return tensor.right - tensor.left

    assert width([1, 14, 14]) < width([64, 14, 14]) < width([1280, 14, 14])
    assert width([8, 7, 7]) < width([8, 28, 28])


def test_an_image_with_its_channels_last_is_drawn_as_with_its_channels_first() -> None:
    assert draw_tensor([14, 14, 48]).faces == draw_tensor([48, 14, 14]).faces
    assert draw_tensor([14, 14, 48]).label == ["14×14×48"]


blocks = st.lists(
    st.builds(
        Block,
        name=st.sampled_from(["stem", "a stage with a very long name indeed", "head digit"]),
        kind=st.sampled_from(["Conv2d", "Block", "Linear"]),
        about=st.text(max_size=80),
        shape=st.lists(st.integers(1, 512), min_size=1, max_size=3),
        params=st.integers(0, 10**8),
        repeat=st.integers(1, 40),
    ),
    min_size=1,
    max_size=12,
)


@given(blocks)
def test_every_block_has_a_cell_and_their_shares_make_the_whole(found: list[Block]) -> None:
    cells = draw_blocks(found, [1, 28, 28]).network.cells
    assert len(cells) == len(found) + 1
    assert [cell.last for cell in cells] == [False] * len(found) + [True]
    assert cells[0].first
    total = sum(each.params * each.repeat for each in found)
    assert math.isclose(sum(cell.share for cell in cells), 1.0 if total else 0.0, abs_tol=1e-9)
    for cell, each in zip(cells, found, strict=False):
        assert cell.repeat == each.repeat
        assert len(cell.name) + len(cell.about) <= 3
        assert cell.behind == min(2, each.repeat - 1)


def test_what_flows_into_a_block_is_what_flows_out_of_the_one_before() -> None:
    network = draw_blocks([block("stem", [8, 14, 14]), block("head", [10])], [3, 32, 32]).network
    assert [cell.tensor.label for cell in network.cells] == [["3×32×32"], ["8×14×14"], ["10"]]
    assert network.cells[-1].words == "out: 10"


def test_the_largest_block_of_each_kind_is_opened_once() -> None:
    def stage(name: str, width: int, repeat: int) -> Block:
        inside = (block("conv", [width, 7, 7], width), block("norm", [width, 7, 7], 2 * width))
        return block(name, [width, 7, 7], 3 * width, "Stage", "", repeat, *inside)

    found = [block("stem", [8, 14, 14], 80), stage("stage 1", 8, 1), stage("stage 2", 16, 4), stage("stage 3", 16, 2)]
    opened = draw_blocks(found, [1, 28, 28]).opened
    assert [row.title for row in opened] == ["stage 2 (Stage)"]
    first, second, _ = opened[0].cells
    # Four equal blocks follow one another, so one of them takes what it gives.
    assert first.tensor.label == ["16×7×7"]
    assert (first.share, second.share) == (1 / 3, 2 / 3)


def test_a_block_of_one_part_is_not_opened() -> None:
    assert draw_blocks([block("pool", [8], 0, "Pool", "", 1, block("mean", [8]))], [8, 7, 7]).opened == []


@pytest.mark.parametrize(
    ("kind", "name", "sort"),
    [
        ("Conv2d", "stem", "conv"),
        ("MultiHeadAttention", "attention", "attention"),
        ("LayerNorm", "norm", "norm"),
        ("GRN", "grn", "norm"),
        ("AdaptiveAvgPool2d", "pool", "pool"),
        ("DropPath", "drop", "dropout"),
        ("GELU", "act", "activation"),
        ("Linear", "fc", "linear"),
        ("Heads", "head digit", "linear"),
        ("Thing", "thing", "other"),
    ],
)
def test_a_block_is_sorted_by_what_its_class_does(kind: str, name: str, sort: str) -> None:
    assert sort_of(block(name, [8], 1, kind)) == sort


def test_a_layer_with_what_belongs_to_it_is_sorted_as_the_layer_and_other_blocks_as_blocks() -> None:
    inside = (block("Linear", [8], 72), block("ReLU", [8]))
    assert sort_of(block("head", [8], 72, "Linear", "", 1, *inside)) == "linear"
    assert sort_of(block("head", [8], 72, "Block", "", 1, *inside)) == "block"


def test_an_opened_block_is_called_by_its_class_where_that_is_a_name_of_its_own() -> None:
    inside = (block("Linear", [8], 72), block("ReLU", [8]))
    found = [
        block("Linear", [8], 72, "Linear", "8 → 8", 1, *inside),
        block("stage 2", [8], 72, "Block", "", 1, *inside),
    ]
    assert [row.title for row in draw_blocks(found, [8]).opened] == ["Linear, 8 → 8", "stage 2 (Block)"]


def test_a_long_class_name_breaks_between_its_words_and_an_arrow_keeps_its_sides() -> None:
    found = [block("SqueezeExcitation", [8], 1, "", "depthwise 3×3, 8 → 16")]
    cell = draw_blocks(found, [8]).network.cells[0]
    assert cell.name == ["Squeeze", "Excitation"]
    assert cell.about == ["depthwise 3×3, …"]
    assert "8 → 16" in cell.words
    short = draw_blocks([block("Conv2d", [8], 1, "", "depthwise 3×3, 8 → 16")], [8]).network.cells[0]
    assert short.about == ["depthwise 3×3,", "8\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}16"]


def test_a_block_has_a_text_description() -> None:
    stage = block("stage 3", [48, 7, 7], 19_776, "Stage", "depthwise 7×7", 4)
    assert describe_block(stage) == "4 × stage 3, depthwise 7×7: output 48×7×7, 79,104 parameters"
    assert describe_block(block("relu", [64])) == "relu: output 64, no parameters"
    assert describe_block(block("beta", [], 1)) == "beta: output scalar, 1 parameter"

"""Packed tensors are files of the safetensors library, and copies that training does not change."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.training.packed_tensors import DTYPES, Packed, encode, pack

shapes = st.lists(st.integers(0, 3), max_size=3)
named = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(list(DTYPES)), shapes),
    max_size=6,
)


def random(dtype: torch.dtype, shape: list[int]) -> Tensor:
    pixels = torch.randint(0, 100, shape)
    return pixels.bool() if dtype == torch.bool else pixels.to(dtype)


def same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one.double(), other.double())


@given(named=named)
def test_the_library_reads_what_was_packed(named: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    tensors = {name: random(dtype, shape) for name, (dtype, shape) in named.items() if dtype != torch.complex64}
    found = safetensors.torch.load(encode(pack(tensors), {"a": "b"}))
    assert found.keys() == tensors.keys()
    assert all(same(found[name], tensor) for name, tensor in tensors.items())


@given(first=named, second=named)
def test_parts_that_were_packed_apart_are_one_file(
    first: dict[str, tuple[torch.dtype, list[int]]], second: dict[str, tuple[torch.dtype, list[int]]]
) -> None:
    parts: list[Packed] = []
    tensors: dict[str, Tensor] = {}
    for prefix, named in (("1", first), ("2", second)):
        own = {prefix + name: random(dtype, shape) for name, (dtype, shape) in named.items()}
        parts += pack(own)
        tensors |= own
    content = encode(parts, {})
    found = safetensors.torch.load(content)
    assert found.keys() == tensors.keys()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    header = json.loads(content[8 : 8 + length])
    for name, tensor in tensors.items():
        # So that a mapped file can be used as it is.
        assert header[name]["data_offsets"][0] % tensor.itemsize == 0


def test_layouts_shared_and_expanded_memory_are_written_out() -> None:
    base = torch.arange(24.0).view(2, 3, 2, 2)
    tensors = {
        "last": base.to(memory_format=torch.channels_last),
        "slice": base[:, 1],
        "expanded": torch.ones(1).expand(5),
        "number": torch.tensor(7),
        "complex": torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64),
        "grad": torch.ones(2, requires_grad=True),
    }
    found = safetensors.torch.load(encode(pack(tensors), {}))
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor.detach())
        assert found[name].is_contiguous()


def test_what_was_packed_does_not_change_any_more() -> None:
    weight = torch.zeros(3)
    packed = pack({"weight": weight})
    weight += 1
    assert torch.equal(safetensors.torch.load(encode(packed, {}))["weight"], torch.zeros(3))


def test_metadata_is_kept() -> None:
    content = encode(pack({"x": torch.ones(1)}), {"runyard": '{"ü": [1]}'})
    length = int.from_bytes(content[:8], "little")
    assert json.loads(content[8 : 8 + length])["__metadata__"] == {"runyard": '{"ü": [1]}'}
    assert safetensors.torch.load(content).keys() == {"x"}


def test_a_type_that_the_format_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"weights cannot be saved: .*complex128"):
        pack({"weights": torch.zeros(1, dtype=torch.complex128)})

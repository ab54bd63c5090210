"""Copies many tensors at once, and encodes them in the format of safetensors, which its library reads.

The library's own encoder handles one tensor after another in Python, which takes 0.1 ms each: several milliseconds per
checkpoint, at the end of every epoch. Format: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
ALIGNMENT = 8


@dataclass(frozen=True, eq=False)
class Packed:
    """Copies of tensors whose elements have the same number of bytes, one after another.

    entries: name, type and shape of each, in this order. data: their bytes, uint8, on the CPU.
    """

    itemsize: int
    entries: list[tuple[str, str, tuple[int, ...]]]
    sizes: list[int]
    data: Tensor


def pack(tensors: Mapping[str, Tensor]) -> list[Packed]:
    """Copy tensors of any device. Raises ValueError for a type that the format does not have."""
    groups: dict[int, list[tuple[str, Tensor]]] = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(f"{name} cannot be saved: safetensors has no type for {tensor.dtype}")
        groups.setdefault(tensor.itemsize, []).append((name, tensor))
    packed = []
    for itemsize, members in groups.items():
        # Joined on the CPU: a GPU that training fills has no room for a second copy of everything.
        data = torch.cat([_bytes(tensor) for _, tensor in members])
        entries = [(name, DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in members]
        packed.append(Packed(itemsize, entries, [tensor.numel() * itemsize for _, tensor in members], data))
    return packed


def _bytes(tensor: Tensor) -> Tensor:
    """The elements in row-major order as bytes, uint8 [n], on the CPU."""
    tensor = tensor.detach().cpu().contiguous()
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor.reshape(-1).view(torch.uint8)


def encode(parts: Iterable[Packed], metadata: Mapping[str, str]) -> bytes:
    """The content of a safetensors file; a name in several parts is an error of the caller."""
    # Larger elements first, so that each tensor begins at a multiple of its element's size.
    ordered = sorted(parts, key=lambda part: -part.itemsize)
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for part in ordered:
        for (name, dtype, shape), size in zip(part.entries, part.sizes, strict=True):
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, start + size)}
            start += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return b"".join([len(text).to_bytes(8, "little"), text, *(part.data.numpy().data for part in ordered)])

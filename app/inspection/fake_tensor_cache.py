"""Cache of operation results on fake tensors by shape, which makes up most of the cost of tracing.

``FakeTensorMode`` has such a cache too, but computing its key takes longer than computing the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

# More entries than all built-in networks need; cleared if a user's edited architectures exceed it.
MOST_KEPT: Final = 50_000

_PLAIN: Final = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Fresh:
    """A result tensor of an operation; ``view_of``: index of the argument whose memory it shares.

    ``same``: it is that argument itself, as with in-place operations. Other writes do not matter, since there are no
    values.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    offset: int
    view_of: int | None
    same: bool


class FakeTensorCache:
    """Executes operations on fake CPU tensors, using cached results where possible."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[_Fresh, ...]] = {}

    def __call__(self, mode: FakeTensorMode, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of ``operation(*args, **kwargs)``."""
        key = _key(operation, args, kwargs)
        cached = None if key is None else self._known.get(key)
        if cached is not None:
            return _made(mode, cached, args, alone=len(operation._schema.returns) == 1)
        out = operation(*args, **kwargs)
        if key is not None:
            described = _described(operation, args, out)
            if described is not None:
                if len(self._known) >= MOST_KEPT:
                    self._known.clear()
                self._known[key] = described
        return out


def _key(operation: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> Key | None:
    """Everything that can affect the result's shape; None if that cannot be determined."""
    parts: list[Any] = [operation]
    tensors = False
    for arg in args:
        if type(arg) is FakeTensor:
            parts.append((arg.shape, arg.stride(), arg.dtype, arg.storage_offset()))
            tensors = True
        elif isinstance(arg, list | tuple) and all(isinstance(one, int | float) for one in arg):
            parts.append(tuple(map(_plain, arg)))
        elif isinstance(arg, _PLAIN):
            parts.append(_plain(arg))
        else:
            return None
    for name, arg in kwargs.items():
        if not isinstance(arg, _PLAIN):
            return None
        parts.append((name, _plain(arg)))
    return tuple(parts) if tensors else None


def _plain(value: Any) -> Any:
    # 1, 1.0 and True are equal as dict keys, but different arguments to an operation.
    return (type(value), value) if isinstance(value, int | float) else value


def _described(operation: Any, args: tuple[Any, ...], out: Any) -> tuple[_Fresh, ...] | None:
    described = []
    for tensor in (out,) if isinstance(out, Tensor) else out if isinstance(out, tuple) else (None,):
        if type(tensor) is not FakeTensor or tensor.fake_device.type != "cpu" or tensor.layout != torch.strided:
            return None
        shared = [place for place, arg in enumerate(args) if isinstance(arg, Tensor) and _same_memory(arg, tensor)]
        view_of = shared[0] if shared else None
        same = view_of is not None and args[view_of] is tensor
        if view_of is not None and not same and (not operation.is_view or tensor.dtype != args[view_of].dtype):
            return None
        described.append(
            _Fresh(tuple(tensor.shape), tensor.stride(), tensor.dtype, int(tensor.storage_offset()), view_of, same)
        )
    return tuple(described)


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _made(mode: FakeTensorMode, cached: tuple[_Fresh, ...], args: tuple[Any, ...], alone: bool) -> Any:
    bare = []
    with in_kernel_invocation_manager(mode):
        for result in cached:
            if result.same:
                bare.append(args[result.view_of or 0])
            elif result.view_of is None:
                bare.append(torch.empty_strided(result.shape, result.stride, dtype=result.dtype, device="meta"))
            else:
                memory = args[result.view_of].untyped_storage()
                empty = torch.empty(0, dtype=result.dtype, device="meta")
                bare.append(empty.set_(memory, result.offset, result.shape, result.stride))
    made = tuple(result if type(result) is FakeTensor else FakeTensor(mode, result, _CPU) for result in bare)
    return made[0] if alone else made


_CPU: Final = torch.device("cpu")

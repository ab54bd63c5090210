"""What an operation gave for tensors of a shape it gives again: spares most of what a batch without values costs.

``FakeTensorMode`` keeps such a memory too, but its key takes longer to make than the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

# More than all networks of this project leave behind; a folder of the user's own that is edited all day is forgotten.
MOST_KEPT: Final = 50_000

_PLAIN: Final = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Fresh:
    """A tensor that an operation gives; ``view_of``: the place of the argument whose memory it shows.

    ``same``: it is that argument, as of an operation in place. What else an operation writes into does not matter here,
    since there are no values.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    offset: int
    view_of: int | None
    same: bool


class FakeTensorCache:
    """Answers operations on fake tensors of a CPU, from memory where it can."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[_Fresh, ...]] = {}

    def __call__(self, mode: FakeTensorMode, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``operation(*args, **kwargs)`` gives."""
        key = _key(operation, args, kwargs)
        known = None if key is None else self._known.get(key)
        if known is not None:
            return _made(mode, known, args, alone=len(operation._schema.returns) == 1)
        out = operation(*args, **kwargs)
        if key is not None:
            described = _described(operation, args, out)
            if described is not None:
                if len(self._known) >= MOST_KEPT:
                    self._known.clear()
                self._known[key] = described
        return out


def _key(operation: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> Key | None:
    """All that the shape of the answer can follow from; None where that cannot be told."""
    parts: list[Any] = [operation]
    tensors = False
    for each in args:
        if type(each) is FakeTensor:
            parts.append((each.shape, each.stride(), each.dtype, each.storage_offset()))
            tensors = True
        elif isinstance(each, list | tuple) and all(isinstance(one, int | float) for one in each):
            parts.append(tuple(map(_plain, each)))
        elif isinstance(each, _PLAIN):
            parts.append(_plain(each))
        else:
            return None
    for name, each in kwargs.items():
        if not isinstance(each, _PLAIN):
            return None
        parts.append((name, _plain(each)))
    return tuple(parts) if tensors else None


def _plain(value: Any) -> Any:
    # 1, 1.0 and True are one key to a dict, and not one argument to an operation.
    return (type(value), value) if isinstance(value, int | float) else value


def _described(operation: Any, args: tuple[Any, ...], out: Any) -> tuple[_Fresh, ...] | None:
    found = []
    for each in (out,) if isinstance(out, Tensor) else out if isinstance(out, tuple) else (None,):
        if type(each) is not FakeTensor or each.fake_device.type != "cpu" or each.layout != torch.strided:
            return None
        shared = [place for place, arg in enumerate(args) if isinstance(arg, Tensor) and _same_memory(arg, each)]
        view_of = shared[0] if shared else None
        same = view_of is not None and args[view_of] is each
        if view_of is not None and not same and (not operation.is_view or each.dtype != args[view_of].dtype):
            return None
        found.append(_Fresh(tuple(each.shape), each.stride(), each.dtype, int(each.storage_offset()), view_of, same))
    return tuple(found)


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _made(mode: FakeTensorMode, known: tuple[_Fresh, ...], args: tuple[Any, ...], alone: bool) -> Any:
    bare = []
    with in_kernel_invocation_manager(mode):
        for each in known:
            if each.same:
                bare.append(args[each.view_of or 0])
            elif each.view_of is None:
                bare.append(torch.empty_strided(each.shape, each.stride, dtype=each.dtype, device="meta"))
            else:
                memory = args[each.view_of].untyped_storage()
                empty = torch.empty(0, dtype=each.dtype, device="meta")
                bare.append(empty.set_(memory, each.offset, each.shape, each.stride))
    made = tuple(each if type(each) is FakeTensor else FakeTensor(mode, each, _CPU) for each in bare)
    return made[0] if alone else made


_CPU: Final = torch.device("cpu")

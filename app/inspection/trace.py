"""A network's parts, found by letting a batch without values through it: shapes, operations, what autograd keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

import models
from app.inspection.fake_tensor_cache import FakeTensorCache

# A prime, so that a size which it divides is one that grows with the batch: no width of a network is a multiple of it.
# Always the same, because torch remembers what it found out about a shape.
BATCH: Final = 997


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


# What torch counts, and the attention that it fuses on a CPU, which it leaves out.
_COUNTED: Final[dict[Any, Callable[..., int]]] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}


_remembered: Final = FakeTensorCache()


@dataclass
class Part:
    """A module, or a parameter that stands beside a module's children (then ``module`` is None).

    ``params`` and ``flops`` are its own, without those of its children; ``flops`` of one image. ``before`` and
    ``shape``: what first flows in and last comes out, for one image. ``entered``: when it was first called or used,
    None for never; ``worked``: when it first did something itself that is counted in ``flops``.
    """

    path: str
    kind: str
    module: nn.Module | None
    params: int = 0
    flops: int = 0
    before: list[int] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    entered: int | None = None
    worked: int | None = None


@dataclass(frozen=True)
class Trace:
    """A network with all its parts, in the order of ``named_modules``, and what a step keeps for its backward pass.

    ``kept_bytes`` whatever the batch, and ``kept_bytes_per_image``; neither has parameters or the batch itself.
    """

    network: nn.Module
    parts: list[Part]
    kept_bytes: int
    kept_bytes_per_image: int


def trace(build: Callable[[], nn.Module], shape: models.Shape, bf16: bool = False) -> Trace:
    """Lets one batch through the network that ``build`` gives, in training, up to the loss.

    Floating-point operations are those of matrix products, convolutions and attention, a multiply-add counting as 2, as
    torch.utils.flop_counter counts them; element-wise ones, a few percent of most networks, are not counted. Autograd
    is asked what it keeps as on a CPU; under ``bf16`` with automatic mixed precision. Raises whatever the network does.
    """
    network = _on_meta(build)
    try:
        with FakeTensorMode() as mode:
            _pretend_to_be_on_a_cpu(network, mode)
            return _Tracer(network, mode).run(shape, bf16, "cpu")
    except Exception:
        # Tensors that a network keeps in lists of its own stay on the meta device. There it can run as well, and only
        # mixed precision and fused attention are missing.
        return _Tracer(_on_meta(build)).run(shape, False, "meta")


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def _pretend_to_be_on_a_cpu(network: nn.Module, mode: FakeTensorMode) -> None:
    pretended: dict[int, Tensor] = {}

    def pretend(real: Tensor) -> Tensor:
        if id(real) not in pretended:
            # A meta tensor with another device written on it.
            with no_dispatch():
                fresh = FakeTensor(mode, torch.empty_like(real), torch.device("cpu"))
            if isinstance(real, nn.Parameter):
                # What nn.Parameter() makes of such a tensor, without a copy of it.
                fresh.requires_grad_(real.requires_grad)
                fresh._is_param = True
            pretended[id(real)] = fresh
        return pretended[id(real)]

    for module in network.modules():
        places: list[dict[str, Any]] = [module._parameters, module._buffers, vars(module)]
        for held in places:
            for name, value in list(held.items()):
                if isinstance(value, Tensor):
                    held[name] = pretend(value)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Listens to modules by hooks, and to operations as a dispatch mode."""

    def __init__(self, network: nn.Module, mode: FakeTensorMode | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network = network
        self._mode = mode
        self.parts: list[Part] = []
        self._of_parameter: dict[int, Part] = {}
        self._inside: list[Part] = []
        self._clock = 0
        self._storages: dict[int, torch.UntypedStorage] = {}
        seen: set[int] = set()
        for path, module in network.named_modules():
            own = {name: each for name, each in module._parameters.items() if each is not None and id(each) not in seen}
            seen.update(map(id, own.values()))
            part = Part(path, type(module).__name__, module)
            self.parts.append(part)
            module.register_forward_pre_hook(self._entering(part), with_kwargs=True)
            module.register_forward_hook(self._leaving(part))
            alone = next(module.children(), None) is None
            for name, parameter in own.items():
                if not alone:
                    shape = list(parameter.shape)
                    part = Part(f"{path}.{name}".lstrip("."), "Parameter", None, shape=shape)
                    self.parts.append(part)
                part.params += parameter.numel()
                self._of_parameter[id(parameter)] = part

    def run(self, shape: models.Shape, bf16: bool, device: str) -> Trace:
        """Let a batch through."""
        images = torch.empty(BATCH, shape.channels, shape.side, shape.side, device=device)
        scalars = torch.empty(BATCH, shape.auxiliary, device=device) if shape.auxiliary else None
        labels = torch.zeros(BATCH, dtype=torch.long, device=device)
        given = [*self.network.parameters(), images, labels, *([] if scalars is None else [scalars])]
        known = {_key(tensor) for tensor in given}
        with saved_tensors_hooks(self._keep, lambda tensor: tensor), self:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = self.network.train()(images, scalars)
            for each in _tensors(logits):
                F.cross_entropy(each.float(), labels)
        sizes = [storage.nbytes() for key, storage in self._storages.items() if key not in known]
        growing = [size for size in sizes if size % BATCH == 0]
        for part in self.parts:
            part.flops = round(part.flops / BATCH)
        return Trace(self.network, self.parts, sum(sizes) - sum(growing), sum(growing) // BATCH)

    def _now(self) -> int:
        self._clock += 1
        return self._clock

    def _entering(self, part: Part) -> Callable[..., None]:
        def entering(module: nn.Module, args: Any, kwargs: Any) -> None:
            if part.entered is None:
                part.entered = self._now()
                part.before = _shape_of_one((args, kwargs))
            self._inside.append(part)

        return entering

    def _leaving(self, part: Part) -> Callable[..., None]:
        def leaving(module: nn.Module, args: Any, output: Any) -> None:
            self._inside.pop()
            part.shape = _shape_of_one(output)

        return leaving

    def _keep(self, tensor: Tensor) -> Tensor:
        # The storage itself is held, so that no other can get its address.
        self._storages[_key(tensor)] = tensor.untyped_storage()
        return tensor

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if operation is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # asked for more often than all else together
        mode = self._mode
        out = operation(*args, **kwargs) if mode is None else _remembered(mode, operation, args, kwargs)
        for each in args:
            part = self._of_parameter.get(id(each))
            if part is not None and part.entered is None:
                part.entered = self._now()
        counted = _COUNTED.get(operation.overloadpacket)
        if counted is not None and self._inside:
            part = self._inside[-1]
            part.flops += counted(*args, **kwargs, out_val=out)
            if part.worked is None:
                part.worked = self._now()
        return out


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(found: Any) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, Mapping):
        for each in found.values():
            yield from _tensors(each)
    elif isinstance(found, tuple | list):
        for each in found:
            yield from _tensors(each)


def _shape_of_one(found: Any) -> list[int]:
    """The shape of the first tensor for one image; windows of an image that lie in the batch come first."""
    first = next(_tensors(found), None)
    if first is None:
        return []
    shape = list(first.shape)
    if not shape or shape[0] % BATCH:
        return shape
    windows = shape[0] // BATCH
    return shape[1:] if windows == 1 else [windows, *shape[1:]]

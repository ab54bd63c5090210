"""Traces a network with a batch without values: shapes, FLOPs, and what autograd keeps for the backward pass."""

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

# A prime, so that only sizes that grow with the batch are divisible by it: no width of a network is a multiple of it.
# Constant, because torch caches results by shape.
BATCH: Final = 997


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


# torch's own counters, plus the fused attention on CPUs that torch leaves out.
_COUNTED: Final[dict[Any, Callable[..., int]]] = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}


_remembered: Final = FakeTensorCache()


@dataclass
class Part:
    """A module, or a parameter of a module that also has children (then ``module`` is None).

    ``params`` and ``flops`` exclude children; ``flops`` is per image. ``before`` and ``shape``: first input and last
    output shape, for one image. ``entered``: when it was first called or used, None if never; ``worked``: when it first
    performed a counted operation itself.
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
    """A network with all its parts, in the order of ``named_modules``, and the memory kept for the backward pass.

    ``kept_bytes``: independent of the batch; ``kept_bytes_per_image``: per image. Excludes parameters and the input
    batch.
    """

    network: nn.Module
    parts: list[Part]
    kept_bytes: int
    kept_bytes_per_image: int


def trace(build: Callable[[], nn.Module], shape: models.Shape, bf16: bool = False) -> Trace:
    """Pass one batch through the network that ``build`` returns, in training mode, up to the loss.

    FLOPs are those of matrix products, convolutions and attention, with a multiply-add counting as 2, as in
    torch.utils.flop_counter; element-wise operations, a few percent of most networks, are not counted. Memory for the
    backward pass is what autograd keeps on a CPU; with ``bf16``, under automatic mixed precision. Raises whatever the
    network raises.
    """
    network = _on_meta(build)
    try:
        with FakeTensorMode() as mode:
            _pretend_to_be_on_a_cpu(network, mode)
            return _Tracer(network, mode).run(shape, bf16, "cpu")
    except Exception:
        # Tensors that a network keeps in its own lists stay on the meta device. Tracing works there too, but without
        # mixed precision and fused attention.
        return _Tracer(_on_meta(build)).run(shape, False, "meta")


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def _pretend_to_be_on_a_cpu(network: nn.Module, mode: FakeTensorMode) -> None:
    pretended: dict[int, Tensor] = {}

    def pretend(real: Tensor) -> Tensor:
        if id(real) not in pretended:
            # A meta tensor that claims to be on the CPU.
            with no_dispatch():
                fresh = FakeTensor(mode, torch.empty_like(real), torch.device("cpu"))
            if isinstance(real, nn.Parameter):
                # The same as nn.Parameter() of such a tensor, but without copying it.
                fresh.requires_grad_(real.requires_grad)
                fresh._is_param = True
            pretended[id(real)] = fresh
        return pretended[id(real)]

    for module in network.modules():
        places: list[dict[str, Any]] = [module._parameters, module._buffers, vars(module)]
        for place in places:
            for name, value in list(place.items()):
                if isinstance(value, Tensor):
                    place[name] = pretend(value)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Observes modules through hooks, and operations as a dispatch mode."""

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
            own = {
                name: parameter
                for name, parameter in module._parameters.items()
                if parameter is not None and id(parameter) not in seen
            }
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
        """Pass a batch through the network."""
        images = torch.empty(BATCH, shape.channels, shape.side, shape.side, device=device)
        scalars = torch.empty(BATCH, shape.auxiliary, device=device) if shape.auxiliary else None
        labels = torch.zeros(BATCH, dtype=torch.long, device=device)
        given = [*self.network.parameters(), images, labels, *([] if scalars is None else [scalars])]
        known = {_key(tensor) for tensor in given}
        with saved_tensors_hooks(self._keep, lambda tensor: tensor), self:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = self.network.train()(images, scalars)
            for output in _tensors(logits):
                F.cross_entropy(output.float(), labels)
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
        # Keep the storage alive, so that no other storage gets its address.
        self._storages[_key(tensor)] = tensor.untyped_storage()
        return tensor

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if operation is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # requested more often than everything else together
        mode = self._mode
        out = operation(*args, **kwargs) if mode is None else _remembered(mode, operation, args, kwargs)
        for arg in args:
            part = self._of_parameter.get(id(arg))
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


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _shape_of_one(value: Any) -> list[int]:
    """The shape of the first tensor for one image; windows of an image that are folded into the batch come first."""
    first = next(_tensors(value), None)
    if first is None:
        return []
    shape = list(first.shape)
    if not shape or shape[0] % BATCH:
        return shape
    windows = shape[0] // BATCH
    return shape[1:] if windows == 1 else [windows, *shape[1:]]

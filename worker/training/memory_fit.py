"""Finds the largest batch that fits into memory: by estimating the backward pass, and by trying real steps."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from app.contract.datasets import dataset
from app.contract.spec import RunConfig
from worker import memory
from worker.data.device_dataset import Augment, Resident
from worker.training.tuning import requested_tuning

MAX_BATCH: Final = 65_536
"""The largest batch size that a run can request."""

FIRST_BATCH: Final = 32
"""The batch size tried first."""

MEMORY_SHARE: Final = 0.8
"""The share of free memory that a batch may take by estimate."""

PEAK_FACTOR: Final = 2.0
"""Peak memory of a step relative to what is saved for the backward pass, since its gradients are added."""

_SLOTS: Final = {"adam": 2, "adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class MemoryNeed:
    """The memory of a training step, in bytes: ``fixed`` for any batch, ``per_image`` for each of its images."""

    fixed: int
    per_image: int

    def largest(self, budget: float) -> int:
        """The largest batch that fits into ``budget`` bytes; 0 if none does."""
        return max(0, int((budget - self.fixed) / max(1, self.per_image)))


def estimate_need(network: nn.Module, config: RunConfig, shape: tuple[int, int, int], scalars: int) -> MemoryNeed:
    """Estimate the memory to train ``network`` as ``config`` says, from a copy of it on the CPU.

    shape: of an image. scalars: number of auxiliary scalars.
    """
    twin = copy.deepcopy(network).to("cpu").train()
    with torch.random.fork_rng(devices=[]):
        two, four = (_saved_bytes(twin, shape, scalars, images) for images in (2, 4))
    per_image = max(1, (four - two) // 2)
    weights = sum(weight.numel() * weight.element_size() for weight in twin.parameters())
    fixed = weights * (2 + _SLOTS[config.optimizer]) + max(0, two - 2 * per_image)
    return MemoryNeed(fixed, int(PEAK_FACTOR * per_image))


def _saved_bytes(network: nn.Module, shape: tuple[int, int, int], scalars: int, images: int) -> int:
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = torch.zeros(images, *shape)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(batch, torch.zeros(images, scalars)) if scalars else network(batch)
        logits = list(output.values()) if isinstance(output, dict) else [output]
        labels = torch.zeros(images, dtype=torch.int64)
        loss = torch.stack([F.cross_entropy(head.float(), labels) for head in logits]).sum()
    del loss
    return sum(saved.values()) + batch.numel() * batch.element_size()


def out_of_memory_reason(config: RunConfig, build: Callable[[], nn.Module], device: str, scalars: int) -> str:
    """The reason for a run that ran out of memory on ``device``, and what to try; never raises.

    build: builds its network.
    """
    try:
        size, memory_text = _memory_of(device)
        info = dataset(config.dataset)
        need = estimate_need(build(), config, (info.channels, info.side, info.side), scalars)
        fits = min(need.largest(MEMORY_SHARE * size), config.batch_size // 2)
    except Exception:  # out of memory again, or a user's network: half of the batch is still good advice
        memory_text, fits = ("the GPU's memory" if device.startswith("cuda") else "this machine's memory"), 0
    fits = fits or config.batch_size // 2
    run = f"{config.family} {config.size} at batch size {config.batch_size:,}"
    if fits < 1:
        return f"{run} does not fit in {memory_text}; try a smaller size"
    return (
        f"{run} does not fit in {memory_text}; try batch size {_rounded(fits):,}, which is estimated to fit,"
        " or set find_batch to find the largest that fits"
    )


def _memory_of(device: str) -> tuple[int, str]:
    if device.startswith("cuda") and torch.cuda.is_available():
        size = int(torch.cuda.get_device_properties(device).total_memory)
        return size, f"the GPU's memory ({size / 2**30:.3g} GiB)"
    size = memory.total_bytes()
    return size, f"this machine's memory ({size / 2**30:.3g} GiB, {memory.free_bytes() / 2**30:.3g} GiB free now)"


def _rounded(batch: int) -> int:
    """The largest power of two up to ``batch``."""
    return 1 << (batch.bit_length() - 1)


# Trials -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchFit:
    """The largest batch size, and in a few words why no larger one."""

    batch_size: int
    limit: str


class Rehearsal:
    """Real training steps, on a copy of a network that is thrown away."""

    def __init__(self, network: nn.Module, data: Resident, config: RunConfig) -> None:
        self._network = copy.deepcopy(network).train()
        self._tuning = requested_tuning(config)
        self._tuning.place(self._network)
        self._optimizer = self._tuning.make_optimizer(self._network, config)
        self._data = data
        self._config = config
        self._augment = Augment.of(config)

    def step(self, images: int) -> None:
        """Train one step with this many images. Raises whatever torch raises if memory is too small."""
        data, first = self._data, self._config.targets[0]
        rows = torch.arange(images, device=data.device)
        batch, targets = data.batch("train", rows, augment=self._augment)
        scalars = data.scalars("train", rows)
        self._optimizer.zero_grad(set_to_none=True)
        with self._tuning.autocast(data.device):
            output: Any = self._network(batch) if scalars is None else self._network(batch, scalars)
            logits = output if isinstance(output, dict) else {first: output}
            losses = [F.cross_entropy(each.float(), targets[name]) for name, each in logits.items()]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if data.device.type == "cuda":
            torch.cuda.synchronize(data.device)


def largest_batch(
    network: nn.Module, data: Resident, config: RunConfig, smallest: int, on_try: Callable[[int], None]
) -> BatchFit:
    """Find the largest batch for which a training step fits into memory, up to the whole training set.

    Doubles the batch until a real step fails, then halves the gap. On a CPU no step is tried that by estimate would
    take more than the free memory, so that the machine never swaps. on_try: called before each try; whatever it raises
    ends the search. Raises whatever the smallest batch fails with.
    """
    limit, why = min(data.size("train"), MAX_BATCH), "limited by the training set"
    if limit == MAX_BATCH < data.size("train"):
        why = "limited by the maximum batch size"
    on_gpu = data.device.type == "cuda"
    if not on_gpu:
        need = estimate_need(network, config, data.shape, len(data.inputs.scalars))
        free = memory.free_bytes()
        bound = need.largest(MEMORY_SHARE * free)
        if bound < limit:
            limit, why = max(smallest, bound), f"limited by {free / 2**30:.3g} GiB of free memory"
    cuda = [data.device] if on_gpu else []
    with torch.random.fork_rng(devices=cuda):
        largest, failed = _search(Rehearsal(network, data, config), smallest, limit, on_try)
    if on_gpu:
        _free_memory()
    if failed is None:
        return BatchFit(largest, why)
    if on_gpu:
        largest = max(smallest, largest * 15 // 16)  # another order of allocations needs slightly more
    if largest >= 16:
        largest -= largest % 8
    return BatchFit(largest, f"limited by memory: {failed:,} does not fit")


def _search(rehearsal: Rehearsal, smallest: int, limit: int, on_try: Callable[[int], None]) -> tuple[int, int | None]:
    """The largest batch that fits, and the smallest known one that does not; None if ``limit`` fits."""
    good, bad, size = 0, None, min(limit, max(smallest, FIRST_BATCH))
    while True:
        on_try(size)
        if _fits(rehearsal, size, required=size == smallest):
            good = size
        else:
            bad = size
        if good == limit:
            return good, None
        if bad is None:
            size = min(limit, 2 * good)
        elif bad - good <= max(1, good // 16):
            return good, bad
        else:
            size = max(smallest, (good + bad) // 2)


def _fits(rehearsal: Rehearsal, images: int, required: bool) -> bool:
    try:
        rehearsal.step(images)
    except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
        gpu = isinstance(error, torch.cuda.OutOfMemoryError)
        if required or not (gpu or memory.is_host_out_of_memory(error)):
            raise
    else:
        return True
    # Only here, where the traceback that kept the failed step's tensors is gone.
    _free_memory()
    return False


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

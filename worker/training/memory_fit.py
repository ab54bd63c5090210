"""Which batch a device's memory holds: by what a network keeps for its backward pass, and by trying real steps."""

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
from worker.data.resident import Augment, Resident
from worker.training.tuning import asked_for

LARGEST: Final = 65_536
"""The largest batch that a run can ask for."""

FIRST: Final = 32
"""The batch that is tried first."""

SHARE: Final = 0.8
"""Of the memory that is free, what a batch may take by estimate."""

AT_WORK: Final = 2.0
"""How much more a step takes at its peak than what is kept for the backward pass: gradients of what was kept."""

_SLOTS: Final = {"adam": 2, "adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class Need:
    """The memory of a training step, in bytes: ``fixed`` for any batch, ``per_image`` for each of its images."""

    fixed: int
    per_image: int

    def largest(self, budget: float) -> int:
        """The largest batch that so many bytes hold; 0 for none."""
        return max(0, int((budget - self.fixed) / max(1, self.per_image)))


def need_of(network: nn.Module, config: RunConfig, shape: tuple[int, int, int], scalars: int) -> Need:
    """What ``network`` needs on its device to be trained as ``config`` says; found with a copy of it on the CPU.

    shape: of an image. scalars: auxiliary ones that it is given.
    """
    twin = copy.deepcopy(network).to("cpu").train()
    with torch.random.fork_rng(devices=[]):
        two, four = (_kept_bytes(twin, shape, scalars, images) for images in (2, 4))
    per_image = max(1, (four - two) // 2)
    weights = sum(each.numel() * each.element_size() for each in twin.parameters())
    fixed = weights * (2 + _SLOTS[config.optimizer]) + max(0, two - 2 * per_image)
    return Need(fixed, int(AT_WORK * per_image))


def _kept_bytes(network: nn.Module, shape: tuple[int, int, int], scalars: int, images: int) -> int:
    own = {each.untyped_storage().data_ptr() for each in network.parameters()}
    found: dict[int, int] = {}

    def pack(kept: Tensor) -> Tensor:
        storage = kept.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return kept

    batch = torch.zeros(images, *shape)
    with saved_tensors_hooks(pack, lambda kept: kept):
        output = network(batch, torch.zeros(images, scalars)) if scalars else network(batch)
        logits = list(output.values()) if isinstance(output, dict) else [output]
        wanted = torch.zeros(images, dtype=torch.int64)
        loss = torch.stack([F.cross_entropy(each.float(), wanted) for each in logits]).sum()
    del loss
    return sum(found.values()) + batch.numel() * batch.element_size()


def words_of_failure(config: RunConfig, build: Callable[[], nn.Module], device: str, scalars: int) -> str:
    """Why a run ended where ``device`` ran out of memory, and what to try; never raises. build: makes its network."""
    try:
        size, what = _memory_of(device)
        facts = dataset(config.dataset)
        need = need_of(build(), config, (facts.channels, facts.side, facts.side), scalars)
        fits = min(need.largest(SHARE * size), config.batch_size // 2)
    except Exception:  # memory is short, or the network is the user's own: half of the batch is advice all the same
        what, fits = ("the GPU's memory" if device.startswith("cuda") else "this machine's memory"), 0
    fits = fits or config.batch_size // 2
    named = f"{config.family} {config.size} at batch size {config.batch_size:,}"
    if fits < 1:
        return f"{what} does not hold {named}; try a smaller size"
    return (
        f"{what} does not hold {named}; try batch size {_rounded(fits):,}, which should fit by estimate,"
        " or find_batch, which tries"
    )


def _memory_of(device: str) -> tuple[int, str]:
    if device.startswith("cuda") and torch.cuda.is_available():
        size = int(torch.cuda.get_device_properties(device).total_memory)
        return size, f"the GPU's memory ({size / 2**30:.3g} GiB)"
    size = memory.total_bytes()
    return size, f"this machine's memory ({size / 2**30:.3g} GiB, {memory.free_bytes() / 2**30:.3g} of it free now)"


def _rounded(batch: int) -> int:
    """The next lower batch that is a power of two."""
    return 1 << (batch.bit_length() - 1)


# Trying --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The largest batch, and why no larger one, in a few words."""

    batch_size: int
    why: str


class Rehearsal:
    """Real steps of training, with a copy of a network that nothing is left of."""

    def __init__(self, network: nn.Module, data: Resident, config: RunConfig) -> None:
        self._network = copy.deepcopy(network).train()
        self._tuning = asked_for(config)
        self._tuning.place(self._network)
        self._optimizer = self._tuning.make_optimizer(self._network, config)
        self._data = data
        self._config = config
        self._augment = Augment(config.crop_padding, config.flip, config.rotation)

    def step(self, images: int) -> None:
        """One step with so many images. Raises what torch raises where memory does not hold it."""
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
    network: nn.Module, data: Resident, config: RunConfig, smallest: int, tell: Callable[[int], None]
) -> Found:
    """The largest batch that a step of training fits into memory with, up to the whole training set.

    Doubles the batch until a real step fails, then halves the gap. On a CPU no step is tried that by estimate would
    take more than what is free, so that the machine never swaps. tell: called before each try; what it raises ends it.
    Raises what the smallest batch fails with.
    """
    limit, why = min(data.size("train"), LARGEST), "the whole training set"
    if limit == LARGEST < data.size("train"):
        why = "the largest that a run can ask for"
    on_gpu = data.device.type == "cuda"
    if not on_gpu:
        need = need_of(network, config, data.shape, len(data.inputs.scalars))
        free = memory.free_bytes()
        bound = need.largest(SHARE * free)
        if bound < limit:
            limit, why = max(smallest, bound), f"{free / 2**30:.3g} GiB of memory are free"
    cuda = [data.device] if on_gpu else []
    with torch.random.fork_rng(devices=cuda):
        found, failed = _search(Rehearsal(network, data, config), smallest, limit, tell)
    if on_gpu:
        _give_back()
    if failed is None:
        return Found(found, why)
    if on_gpu:
        found = max(smallest, found * 15 // 16)  # what is allotted in another order needs a little more
    if found >= 16:
        found -= found % 8
    return Found(found, f"{failed:,} did not fit")


def _search(rehearsal: Rehearsal, smallest: int, limit: int, tell: Callable[[int], None]) -> tuple[int, int | None]:
    """The largest batch that fits, and the smallest known that does not; None when ``limit`` fits."""
    good, bad, tried = 0, None, min(limit, max(smallest, FIRST))
    while True:
        tell(tried)
        if _fits(rehearsal, tried, must=tried == smallest):
            good = tried
        else:
            bad = tried
        if good == limit:
            return good, None
        if bad is None:
            tried = min(limit, 2 * good)
        elif bad - good <= max(1, good // 16):
            return good, bad
        else:
            tried = max(smallest, (good + bad) // 2)


def _fits(rehearsal: Rehearsal, images: int, must: bool) -> bool:
    try:
        rehearsal.step(images)
    except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
        gpu = isinstance(error, torch.cuda.OutOfMemoryError)
        if must or not (gpu or memory.is_host_out_of_memory(error)):
            raise
    else:
        return True
    # Here, where the traceback that held the failed step's tensors is gone.
    _give_back()
    return False


def _give_back() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

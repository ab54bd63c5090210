"""Streams a dataset's images from disk: background threads gather the coming batches ahead of time.

The batches are exactly those of the resident dataset. Labels and scalars stay on the device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from worker.data import read_ahead
from worker.data.datasets import Data, Part
from worker.data.device_dataset import Batches, Resident
from worker.data.inputs import Inputs

THREADS: Final = 2
"""One copies a batch while the other waits for the disk."""
AHEAD: Final = 4
"""Batches gathered ahead of the one in use."""
AHEAD_BYTES: Final = 256_000_000
"""Limit for these batches together, though one is always gathered ahead."""

_Key: TypeAlias = tuple[Part, int, int]


class Streamed(Resident):
    """A dataset whose images stay where they are and are copied to the device batch by batch.

    Batches that were announced with `ahead` are gathered in the background; any other batch can be requested as well,
    and is gathered then. Use it as a context manager, or call `close`, so that its threads end.
    """

    def __init__(
        self,
        data: Data,
        device: torch.device,
        *,
        inputs: Inputs | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__(data, device, inputs=inputs, memory_format=memory_format)
        self._pool: ThreadPoolExecutor | None = None
        self._announced: Tensor | list[slice] | None = None
        self._coming: Iterator[tuple[_Key, Tensor | slice]] = iter(())
        self._pending: deque[tuple[_Key, Future[Tensor]]] = deque()
        self._in_memory = False

    def _place(self, images: Tensor) -> Tensor:
        images = images.contiguous()
        read_ahead.expect_random(images)
        return images

    def images(self, part: Part, indices: Tensor | slice) -> Tensor:
        """The split's raw images, uint8 [B, C, H, W], as a copy; indices: int64 [B], or a slice without a step."""
        gathered = self._gathered_ahead(part, indices)
        if gathered is None:
            gathered = _gather(self._images[part], _on_cpu(indices), self._buffer(part, indices), announce=True)
        return gathered.to(self.device, non_blocking=True).contiguous(memory_format=self.memory_format)

    def ahead(self, part: Part, batches: Batches) -> Batches:
        """Gather these batches from now on, and no longer those announced before."""
        self._drop()
        # Batches of indices are recognized by their address, which is theirs alone as long as this exists.
        self._announced = batches
        self._in_memory = read_ahead.in_memory(self._images[part])
        self._coming = self._each(part, batches)
        self._fill()
        return batches

    def close(self) -> None:
        """Drop what was gathered ahead and end the threads."""
        self._drop()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _each(self, part: Part, batches: Tensor | list[slice]) -> Iterator[tuple[_Key, Tensor | slice]]:
        # On a GPU this waits once for all the batches, instead of for each of them.
        on_cpu = batches.cpu() if isinstance(batches, Tensor) else batches
        for place in range(len(batches)):
            yield self._key(part, batches[place]), on_cpu[place]

    def _key(self, part: Part, indices: Tensor | slice) -> _Key:
        if isinstance(indices, slice):
            start, stop, _ = indices.indices(self.size(part))
            return part, start, stop
        return part, indices.data_ptr(), len(indices)

    def _buffer(self, part: Part, indices: Tensor | slice) -> Tensor:
        images = self._images[part]
        count = len(range(*indices.indices(len(images)))) if isinstance(indices, slice) else len(indices)
        # The allocator does not reuse pinned memory before a copy from it to the GPU has ended.
        return torch.empty(count, *images.shape[1:], dtype=torch.uint8, pin_memory=self.device.type == "cuda")

    def _gathered_ahead(self, part: Part, indices: Tensor | slice) -> Tensor | None:
        key = self._key(part, indices)
        place = next((place for place, (known, _) in enumerate(self._pending) if known == key), None)
        if place is None:
            return None
        for _ in range(place):
            self._pending.popleft()[1].cancel()
        future = self._pending.popleft()[1]
        self._fill()
        return future.result()

    def _fill(self) -> None:
        """Keep threads busy with the next batches."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "images")
        depth = AHEAD
        while len(self._pending) < depth and (following := next(self._coming, None)) is not None:
            key, batch = following
            part, buffer = key[0], self._buffer(key[0], batch)
            depth = max(1, min(AHEAD, AHEAD_BYTES // max(1, buffer.nbytes)))
            announce = not self._in_memory
            gathered = self._pool.submit(_gather, self._images[part], batch, buffer, announce=announce)
            self._pending.append((key, gathered))

    def _drop(self) -> None:
        while self._pending:
            self._pending.popleft()[1].cancel()
        self._coming = iter(())
        self._announced = None


def _on_cpu(indices: Tensor | slice) -> Tensor | slice:
    return indices if isinstance(indices, slice) else indices.cpu()


def _gather(images: Tensor, batch: Tensor | slice, buffer: Tensor, *, announce: bool) -> Tensor:
    """Copy images into the buffer; other threads can run meanwhile. announce: have the system read them first."""
    rows = images.numpy().reshape(len(images), -1)
    found = buffer.numpy().reshape(len(buffer), -1)
    if isinstance(batch, slice):
        if announce:
            read_ahead.read_all(images[batch])
        np.copyto(found, rows[batch])
    else:
        if announce:
            read_ahead.read_images(images, batch.tolist())
        # Without a mode, the result would be copied once more.
        np.take(rows, batch.numpy(), axis=0, out=found, mode="clip")
    return buffer

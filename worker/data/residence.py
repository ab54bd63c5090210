"""Decides where a run's images are during training: in the device's memory, or streamed from disk."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from worker import memory
from worker.data.datasets import PARTS, Data
from worker.data.device_dataset import Resident
from worker.data.inputs import Inputs
from worker.data.streamed_dataset import Streamed


@dataclass(frozen=True)
class Residence:
    """Whether the images are in the device's memory, and what to say of it, such as "in memory (120 MB)"."""

    in_memory: bool
    text: str

    @classmethod
    def choose(cls, data: Data, device: torch.device, share: float) -> Residence:
        """Keep the images in memory if they take at most this share of what is free now: the GPU's, or this machine's.

        share: 0 to 1; 0 always streams.
        """
        images = sum(data.split(part).images.nbytes for part in PARTS)
        size = format_bytes(images)
        where = "GPU memory" if device.type == "cuda" else "memory"
        if share == 0:
            return cls(False, f"streamed from disk ({size}; RUNYARD_RESIDENT_SHARE is 0)")
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.free_bytes()
        if images <= share * free:
            return cls(True, f"in {where} ({size})")
        limit = "half" if share == 0.5 else f"{100 * share:.3g}%"
        return cls(False, f"streamed from disk ({size}; more than {limit} of the {format_bytes(free)} of free {where})")

    def hold(
        self,
        data: Data,
        device: torch.device,
        *,
        inputs: Inputs,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Resident:
        """The dataset for training on the device."""
        kind = Resident if self.in_memory else Streamed
        return kind(data, device, inputs=inputs, memory_format=memory_format)


def format_bytes(size: float) -> str:
    """A size in 10⁶ bytes, or in 10⁹ from there on, with three digits."""
    return f"{size / 1e9:.3g} GB" if size >= 999.5e6 else f"{size / 1e6:.3g} MB"

"""Describes how a network runs on a device: memory format, precision, optimizer kernels, compilation.

None of this changes what is computed beyond the requested precision; sums are taken in another order, so the last bits
differ. Which is fastest cannot be predicted: bfloat16 makes one network twice as fast on a processor and halves the
speed of the next. So it is tested (``worker/training/autotune.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from app.contract.spec import RunConfig

Output = Tensor | dict[str, Tensor]
Forward = Callable[..., Output]


GRAPH_CHECKS = ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check")
"""Methods that an optimizer calls at each step to find out whether a CUDA graph is being captured.

They look for a GPU each time, and where there is none load its driver's library anew. Nothing here captures a step.
"""


@dataclass(frozen=True)
class Tuning:
    """One way to run a network; the defaults are the plain one.

    compile: "graphs" replays the compiled CUDA graphs, which spares a GPU the wait for small kernels.
    """

    precision: Literal["32", "bf16"] = "32"
    channels_last: bool = False
    optimizer: Literal["fused", "foreach"] = "fused"
    compile: Literal["off", "on", "graphs"] = "off"

    def __str__(self) -> str:
        parts = ["bfloat16" if self.precision == "bf16" else "float32"]
        parts += ["channels last"] if self.channels_last else []
        parts += [f"{self.optimizer} optimizer"]
        parts += {"off": [], "on": ["compiled"], "graphs": ["compiled with CUDA graphs"]}[self.compile]
        return ", ".join(parts)

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of images and of convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: nn.Module) -> None:
        """Lay out the weights of ``network`` in this memory format."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)

    def forward(self, network: nn.Module) -> Forward:
        """The callable to train with: ``network`` itself, or its compiled version, which compiles at the first call."""
        if self.compile == "off":
            return network.__call__
        # Inductor's process pool would outlive a trainer that is killed.
        torch._inductor.config.compile_threads = 1
        compiled = torch.compile(network, mode="reduce-overhead" if self.compile == "graphs" else None)
        if self.compile == "on":
            return lambda *inputs: compiled(*inputs)

        def replayed(*inputs: Tensor) -> Output:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            output = compiled(*inputs)
            # The next replay writes into the same memory.
            return {k: v.clone() for k, v in output.items()} if isinstance(output, dict) else output.clone()

        return replayed

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The autocast context for the forward pass."""
        return nullcontext() if self.precision == "32" else torch.autocast(device.type, torch.bfloat16)

    def make_optimizer(self, network: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
        """The optimizer that ``config`` names."""
        parameters = list(network.parameters())
        kernels: dict[str, Any] = {self.optimizer: True}
        if config.optimizer == "sgd":
            momentum, decay = config.momentum, config.weight_decay
            return torch.optim.SGD(parameters, config.lr, momentum=momentum, weight_decay=decay, **kernels)
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(parameters, config.lr, weight_decay=config.weight_decay, **kernels)
        for name in GRAPH_CHECKS:
            if hasattr(optimizer, name):
                setattr(optimizer, name, _nothing)
        return optimizer

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-compatible values."""
        return asdict(self)


def _nothing() -> None:
    """Stands in for a check that cannot fail."""


def requested_tuning(config: RunConfig) -> Tuning:
    """The plain tuning in the precision that ``config`` requests; float32 if it leaves that open."""
    return Tuning(precision="bf16" if config.precision == "bf16" else "32")

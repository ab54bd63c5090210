"""How a network is run on a device, all else equal: memory format, precision, kernels of the optimizer, compilation.

None of it changes what is computed beyond the precision that was asked for; sums are taken in another order, so the
last bits differ. What is fastest cannot be told beforehand: bfloat16 makes one network twice as fast on a processor and
halves the speed of the next. So it is tried (``worker/training/autotune.py``).
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


@dataclass(frozen=True)
class Tuning:
    """One way to run a network; the defaults are the plain one.

    compile: "graphs" replays CUDA graphs of what was compiled, which spares a GPU the wait for small kernels.
    """

    precision: Literal["32", "bf16"] = "32"
    channels_last: bool = False
    optimizer: Literal["fused", "foreach"] = "fused"
    compile: Literal["off", "on", "graphs"] = "off"

    def __str__(self) -> str:
        words = ["bfloat16" if self.precision == "bf16" else "float32"]
        words += ["channels last"] if self.channels_last else []
        words += [f"{self.optimizer} optimizer"]
        words += {"off": [], "on": ["compiled"], "graphs": ["compiled with CUDA graphs"]}[self.compile]
        return ", ".join(words)

    @property
    def memory_format(self) -> torch.memory_format:
        """Of images and of the weights of convolutions."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: nn.Module) -> None:
        """Lay the weights of ``network`` out in memory so."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)

    def forward(self, network: nn.Module) -> Forward:
        """What trains ``network``: itself, or what it is compiled to, the first time that it is called."""
        if self.compile == "off":
            return network.__call__
        # Its own pool of processes would outlive a trainer that is killed.
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
        """Around the forward pass."""
        return nullcontext() if self.precision == "32" else torch.autocast(device.type, torch.bfloat16)

    def make_optimizer(self, network: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
        """The optimizer that ``config`` names."""
        parameters = list(network.parameters())
        kernels: dict[str, Any] = {self.optimizer: True}
        if config.optimizer == "sgd":
            momentum, decay = config.momentum, config.weight_decay
            return torch.optim.SGD(parameters, config.lr, momentum=momentum, weight_decay=decay, **kernels)
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, config.lr, weight_decay=config.weight_decay, **kernels)

    def as_facts(self) -> dict[str, Any]:
        """As JSON can say it."""
        return asdict(self)


def asked_for(config: RunConfig) -> Tuning:
    """The plain way, in the precision that ``config`` asks for; float32 where it leaves that open."""
    return Tuning(precision="bf16" if config.precision == "bf16" else "32")

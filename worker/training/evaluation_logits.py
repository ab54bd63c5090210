"""How every evaluation computes the logits of a network, so that all of them come to the same answers."""

from __future__ import annotations

from torch import Tensor, nn

from app.contract.spec import RunConfig


def evaluation_logits(
    network: nn.Module, config: RunConfig, images: Tensor, scalars: Tensor | None
) -> dict[str, Tensor]:
    """The logits of each head for normalized images; averaged with those of the mirrored ones if ``config`` says so."""

    def by_head(pixels: Tensor) -> dict[str, Tensor]:
        output = network(pixels) if scalars is None else network(pixels, scalars)
        return output if isinstance(output, dict) else {config.targets[0]: output}

    logits = by_head(images)
    if not config.mirror:
        return logits
    mirrored = by_head(images.flip(3))
    return {name: (output + mirrored[name]) / 2 for name, output in logits.items()}

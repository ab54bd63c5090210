"""The loop benches on CUDA, where there is a GPU; where there is none the result says so."""

from __future__ import annotations

import torch

from bench import accuracy, training
from bench.record import keep


def main() -> None:
    """Epochs of every case, and time to 99 %."""
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        keep("gpu", [], measured="nothing: this machine has no GPU")
        return
    training.main("cuda", "gpu")
    accuracy.main("cuda", "gpu-accuracy")
    accuracy.main("cuda", "gpu-accuracy-vit", "vit", "small")

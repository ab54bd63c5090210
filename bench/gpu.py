"""The training benchmarks on CUDA; without a GPU the result says so."""

from __future__ import annotations

import torch

from bench import accuracy, training
from bench.report import save


def main() -> None:
    """Measure epochs of every case and the time to 99%."""
    if not torch.cuda.is_available():
        print("This machine has no GPU: nothing was measured.")
        save("gpu", [], measured="nothing: this machine has no GPU")
        return
    training.main("cuda", "gpu")
    accuracy.main("cuda", "gpu-accuracy")
    accuracy.main("cuda", "gpu-accuracy-vit", "vit", "small")

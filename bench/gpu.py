"""The benchmarks on CUDA, as one script of at most eight minutes without a network; without a GPU it says so.

What is most wanted comes first, and each part is saved when it is done: tunings with compilation and CUDA graphs, the
time to 99%, epochs compared with a plain loop and with Lightning.
"""

from __future__ import annotations

import time

import torch

from bench import accuracy, training, tunings
from bench.accuracy import Network
from bench.report import save

SECONDS = 480.0
# Seconds after which the next part must begin.
TUNINGS_UNTIL, ACCURACY_UNTIL = 200.0, 330.0
NETWORKS = (Network("simple_cnn", "base"), Network("vit", "tiny"))


def main(seconds: float = SECONDS) -> None:
    """Measure what the time allows."""
    if not torch.cuda.is_available():
        print("This machine has no GPU: nothing was measured.")
        save("gpu", [], measured="nothing: this machine has no GPU")
        return
    began = time.monotonic()

    def left(until: float) -> float:
        return began + until - time.monotonic()

    rows = tunings.rows("cuda", lambda: left(TUNINGS_UNTIL))
    save("gpu", rows, device=torch.cuda.get_device_name(), measured="a training step by tuning")
    accuracy.main(
        "cuda", "gpu-accuracy", NETWORKS, seeds=2, targets=(0.98, 0.99), time_left=lambda: left(ACCURACY_UNTIL)
    )
    training.main("cuda", "gpu-training", time_left=lambda: left(seconds))

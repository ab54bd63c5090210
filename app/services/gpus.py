"""Counts the GPUs of this machine by asking the driver, since server processes must not import torch."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

ASK_SECONDS = 10.0


def count_gpus(environment: Mapping[str, str]) -> int:
    """Number of GPUs that a worker with this environment would find; 0 without an NVIDIA driver."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA uses the names up to the first invalid one.
        names = [name.strip() for name in visible.split(",")]
        wrong = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return min(wrong, _listed())
    return _listed()


def _listed() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines()) if listing.returncode == 0 else 0


def worker_devices(device: str, environment: Mapping[str, str]) -> list[str]:
    """The device of each worker to start: one per GPU if there are several, else ``device``."""
    if device in ("auto", "cuda") and (gpus := count_gpus(environment)) > 1:
        return [f"cuda:{index}" for index in range(gpus)]
    return [device]

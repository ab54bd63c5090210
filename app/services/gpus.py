"""How many GPUs this machine has, asked of the driver, since no process of the server may import torch."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

ASK_SECONDS = 10.0


def count_gpus(environment: Mapping[str, str]) -> int:
    """The GPUs that a worker started with this environment would find; 0 without NVIDIA's driver."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA takes the names up to the first that is none.
        names = [name.strip() for name in visible.split(",")]
        wrong = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return min(wrong, _listed())
    return _listed()


def _listed() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in said.stdout.splitlines()) if said.returncode == 0 else 0


def worker_devices(device: str, environment: Mapping[str, str]) -> list[str]:
    """What each worker of this machine is to train on: one GPU each where there are several, else ``device``."""
    if device in ("auto", "cuda") and (gpus := count_gpus(environment)) > 1:
        return [f"cuda:{index}" for index in range(gpus)]
    return [device]

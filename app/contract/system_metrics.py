"""Names of the system metrics measured during training, each with its unit, in chart order."""

from __future__ import annotations

IMAGES_PER_SECOND = "system/images_per_second"
GRADIENT_NORM = "train/grad_norm"
HOST_NAMES = (
    "system/cpu_percent",
    "system/memory_percent",
    "system/disk_read_mb_per_second",
    "system/disk_write_mb_per_second",
)
"""Metrics of the whole machine."""
GPU_NAMES = (
    "system/gpu_percent",
    "system/gpu_memory_percent",
    "system/gpu_power_watts",
    "system/gpu_temperature_celsius",
)
"""Metrics of the GPU that trains the run."""

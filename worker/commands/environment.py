"""The environment of a command: the worker's own, what its user set, and the address of the run."""

from __future__ import annotations

from collections.abc import Mapping

from app.contract.command import Command
from worker.job import CommandJob

TOKENS = ("RUNYARD_TOKEN", "MLFLOW_TRACKING_TOKEN")


def command_environment(job: CommandJob, command: Command, token: str = "") -> dict[str, str]:
    """Environment variables for a command's process; ``token``: with which it may log.

    Variables that its user set win over the worker's; the run's own are always set. The worker's settings are left out.
    """
    inherited = {name: value for name, value in job.environment.items() if not name.startswith("RUNYARD_")}
    environment = {"PYTHONUNBUFFERED": "1"} | inherited
    if job.settings.slots > 1:
        environment.setdefault("OMP_NUM_THREADS", str(job.threads))
    environment |= command.environment
    environment |= {
        # Its own address tells the server which run a request comes from.
        "MLFLOW_TRACKING_URI": f"{command.url.rstrip('/')}/runs/{job.run}",
        "MLFLOW_RUN_ID": job.run,
        "RUNYARD_URL": command.url,
        "RUNYARD_RUN_ID": job.run,
        "RUNYARD_ATTEMPT": str(job.attempt),
        "CUDA_VISIBLE_DEVICES": visible_gpu(job.gpu, job.environment),
        "PWD": command.folder,
    }
    if token and not any(name in command.environment for name in TOKENS):
        environment |= dict.fromkeys(TOKENS, token)
    return environment


def visible_gpu(gpu: int | None, worker: Mapping[str, str]) -> str:
    """The value of CUDA_VISIBLE_DEVICES for a slot's GPU, given as the worker counts it; "" hides all GPUs."""
    if gpu is None:
        return ""
    visible = [name.strip() for name in worker.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return visible[gpu] if gpu < len(visible) else str(gpu)

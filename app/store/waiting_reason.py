"""Why a queued run has not started."""

from __future__ import annotations

from app.store.run import RunRecord
from app.store.worker import WorkerRecord


def why_waiting(run: RunRecord, ahead: int, workers: list[WorkerRecord], stopped: str = "", held: str = "") -> str:
    """Why a queued run with ``ahead`` runs before it has not started.

    ``stopped``: why no run starts at all; ``held``: the limit that it waits for.
    """
    if not workers:
        return "no worker is connected"
    fitting = [worker for worker in workers if worker.takes(run.device_wanted, run.worker_wanted, run.executed)]
    if not fitting:
        return _unmet_request(run.device_wanted, run.worker_wanted, workers, run.executed)
    if stopped:
        return stopped
    if held:
        return held
    if all(worker.lacks_space for worker in fitting):
        return f"the disk of {', '.join(sorted({worker.host for worker in fitting}))} is full"
    fitting = [worker for worker in fitting if not worker.lacks_space]
    if sum(worker.free_slots for worker in fitting) > ahead:
        return "starting"
    slots = sum(worker.slots for worker in fitting)
    on = f" on {', '.join(sorted({worker.host for worker in fitting}))}" if run.worker_wanted else ""
    busy = f"the only slot{on} is busy" if slots == 1 else f"all {slots} slots{on} are busy"
    return busy if not ahead else f"{busy}; {ahead:,} run{'s' if ahead != 1 else ''} ahead in the queue"


def _unmet_request(device: str, name: str, workers: list[WorkerRecord], executes: bool = False) -> str:
    """What a run needs that no connected worker has, and what there is instead."""
    if not any(worker.compatible for worker in workers):
        return "no connected worker understands this server; install the same version of Runyard on them"
    workers = [worker for worker in workers if worker.compatible]
    if executes and any(worker.takes(device, name) for worker in workers):
        return "needs a worker with the key in the server's data folder; commands start on no other"
    named = [worker for worker in workers if worker.id.startswith(name)]
    if not named:
        available = ", ".join(sorted({worker.host for worker in workers}))
        return f"needs worker {name.rstrip('-')}; connected workers: {available}"
    available = ", ".join(sorted({worker.device for worker in named}))
    owner = f"worker {name.rstrip('-')} has" if name else "connected workers have"
    return f"needs {device}; {owner} {available}"

"""`runyard datasets` and `workers`: what there is to train, and who trains."""

from __future__ import annotations

from typing import Any

from app.cli.client import Url, told
from app.cli.output import AsJson, print_json, print_table


def datasets(as_json: AsJson = False, url: Url = None) -> None:
    """List every dataset with its targets."""
    with told(url) as yard:
        found = yard.datasets()
        if as_json:
            print_json({"datasets": found})
            return
        rows = [
            [
                each["name"],
                f"{each['channels']}×{each['side']}×{each['side']}",
                *(f"{each[part]:,}" for part in ("train", "validation", "test")),
                ", ".join(f"{target['name']} {target['classes']}" for target in each["targets"]),
                "offline" if each["offline"] else f"{each['megabytes']:g} MB",
            ]
            for each in found
        ]
        print_table(
            ("dataset", "image", "training", "validation", "test", "targets and their classes", "where from"),
            rows,
            right=("training", "validation", "test"),
        )


def workers(as_json: AsJson = False, url: Url = None) -> None:
    """List the workers that are connected."""
    with told(url) as yard:
        found = yard.workers()
        if as_json:
            print_json({"workers": found})
        elif found:
            print_table(("worker", "device", "memory", "slots", "trains"), map(_worker_row, found))
        else:
            print("no worker is connected; `runyard worker` starts one")


def _worker_row(worker: dict[str, Any]) -> list[str]:
    busy = worker["slots"] - worker["free_slots"]
    memory = f"{worker['memory_bytes'] / 2**30:.1f} GiB" if worker["memory_bytes"] else "–"
    place = f"{worker['host']} (process {worker['pid']})"
    return [
        place,
        worker["device"],
        memory,
        f"{busy} of {worker['slots']} busy",
        ", ".join(worker["runs"]) or "nothing",
    ]

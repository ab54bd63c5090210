"""`runyard datasets`, `presets` and `workers`: list datasets, presets and connected workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.cli.client import Url, connected
from app.cli.launch_plan import read_catalog
from app.cli.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    from app.contract.catalog import Catalog
    from runyard import Runyard

PRESET_COLUMNS = ("name", "family", "size", "dataset", "recipe")


def datasets(as_json: AsJson = False, url: Url = None) -> None:
    """List all datasets with their targets."""
    with connected(url) as yard:
        listed = yard.datasets()
        if as_json:
            print_json({"datasets": listed})
            return
        rows = [
            [
                dataset["name"],
                f"{dataset['channels']}×{dataset['side']}×{dataset['side']}",
                *(f"{dataset[split]:,}" for split in ("train", "validation", "test")),
                ", ".join(f"{target['name']} {target['classes']}" for target in dataset["targets"]),
                "none" if dataset["offline"] else f"{dataset['megabytes']:g} MB",
            ]
            for dataset in listed
        ]
        print_table(
            ("dataset", "image", "training", "validation", "test", "targets and classes", "download"),
            rows,
            right=("training", "validation", "test"),
        )


def presets(as_json: AsJson = False, url: Url = None) -> None:
    """List all presets: named combinations of family, size, dataset and recipe."""
    with connected(url) as yard:
        catalog = read_catalog(yard.ask("GET", "/architectures"))
        listed = [
            {"name": name, **each, "params": _params(yard, catalog, name, each)}
            for name, each in yard.presets().items()
        ]
        if as_json:
            print_json({"presets": listed})
            return
        rows = [
            [
                *(preset[key] for key in PRESET_COLUMNS),
                _settings(preset),
                f"{preset['params']:,}" if preset["params"] is not None else "–",
            ]
            for preset in listed
        ]
        columns = ("preset", *PRESET_COLUMNS[1:], "other settings", "parameters")
        print_table(columns, rows, right=("parameters",))


def _params(yard: Runyard, catalog: Catalog, name: str, preset: dict[str, Any]) -> int | None:
    """A preset's parameters; those of other heads than the first are counted by the server, None if it cannot."""
    from runyard import RunyardError

    known = catalog.params_of(preset)
    if known is not None:
        return known
    try:
        return int(yard.ask("POST", "/preview", {"preset": name})["params"])
    except RunyardError:
        return None


def _settings(preset: dict[str, Any]) -> str:
    """What a preset sets beyond its columns: batch_size 1, lr 0.0002."""
    others = {key: value for key, value in preset.items() if key not in (*PRESET_COLUMNS, "params")}
    return "; ".join(f"{key} {', '.join(value) if isinstance(value, list) else value}" for key, value in others.items())


def workers(as_json: AsJson = False, url: Url = None) -> None:
    """List connected workers."""
    with connected(url) as yard:
        listed = yard.workers()
        if as_json:
            print_json({"workers": listed})
        elif listed:
            print_table(("worker", "device", "memory", "slots", "version", "runs"), map(_worker_row, listed))
        else:
            print("no worker is connected; start one with `runyard worker`")


def _worker_row(worker: dict[str, Any]) -> list[str]:
    busy = len(worker["runs"])
    memory = f"{worker['memory_bytes'] / 2**30:.1f} GiB" if worker["memory_bytes"] else "–"
    location = f"{worker['host']} (process {worker['pid']})"
    return [
        location,
        worker["device"],
        memory,
        f"{busy} of {worker['slots']} busy",
        worker["versions"].get("runyard", "–"),
        worker["refusal"] or ", ".join(worker["runs"]) or "none",
    ]

"""Rewrite the tables in docs/ that follow from the code: ``python -m docs.tables``.

A test fails if a table differs from what the code says, so run this after changing a setting, a catalog or a result.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

import models
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES
from app.contract.settings import Settings

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER.parent / "bench" / "results"
CLIENT: Final = FOLDER.parent / "runyard.py"


def setting_rows() -> list[str]:
    """Environment variables with their defaults and descriptions."""
    return [
        f"| `RUNYARD_{name.upper()}` | {_default(field.get_default(call_default_factory=True))} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


CLIENT_VARIABLES: Final[Mapping[str, tuple[str, str]]] = {
    "RUNYARD_URL": (
        "`http://127.0.0.1:8000`",
        "URL of the server. If unset, `runyard` uses `RUNYARD_HOST` and `RUNYARD_PORT`.",
    ),
    "RUNYARD_TOKEN": ("", "API token to send, where people have to sign in."),
    "RUNYARD_CREDENTIALS": (
        "`~/.config/runyard/credentials.json`",
        "File in which `runyard login` stores its sessions.",
    ),
    "RUNYARD_SPOOL_DIR": (
        "`~/.cache/runyard/spool`",
        "Folder in which programs that log by themselves keep what the server does not have yet.",
    ),
}
"""Defaults and descriptions of the environment variables that only clients read."""


def client_rows() -> list[str]:
    """Environment variables of the Python client and the command line."""
    names = dict.fromkeys(re.findall(r'environ\.get\("(RUNYARD_\w+)"\)', CLIENT.read_text()))
    return [f"| `{name}` | {' | '.join(CLIENT_VARIABLES[name])} |" for name in names]


def _default(value: Any) -> str:
    return "" if value in (None, "") else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def family_rows() -> list[str]:
    """Families with the parameter counts of their sizes at MNIST."""
    rows = []
    for name, family in models.families().items():
        sizes = [
            f"{f'**{size.name}**' if size.name == family.default else size.name} {size.counts[0]:,}"
            for size in family.sizes
        ]
        rows.append(f"| `{name}` | {' · '.join(sizes)} |")
    return rows


def dataset_rows() -> list[str]:
    """Datasets with their shapes, splits, targets and download sizes."""
    rows = []
    for dataset in DATASETS.values():
        targets = ", ".join(f"{target.name} {target.classes}" for target in dataset.targets)
        download = "none" if dataset.offline else f"{dataset.megabytes:g} MB"
        images = f"{dataset.train:,} / {dataset.validation:,} / {dataset.test:,}"
        shape = f"{dataset.channels}×{dataset.side}×{dataset.side}"
        scalars = len(dataset.auxiliary) or ""
        rows.append(f"| `{dataset.name}` | {shape} | {images} | {targets} | {scalars} | {download} |")
    return rows


def recipe_rows() -> list[str]:
    """Recipes with the datasets that they are for."""
    return [
        f"| `{recipe.name}` | {recipe.supported if recipe.datasets else 'any'} | {recipe.about.replace(' %', '%')} |"
        for recipe in RECIPES.values()
    ]


def preset_rows() -> list[str]:
    """Presets with the parameter counts of the networks that they name."""
    rows = []
    for name, settings in PRESETS.items():
        dataset = DATASETS[settings["dataset"]]
        targets = settings.get("targets", [dataset.targets[0].name])
        heads = {target: dataset.target(target).classes for target in targets}
        with torch.device("meta"):
            network = models.build(
                settings["family"], settings["size"], models.Shape(dataset.channels, dataset.side, heads)
            )
        others = [
            f"{key} {', '.join(value) if isinstance(value, list) else value}"
            for key, value in settings.items()
            if key not in ("family", "size", "dataset", "recipe")
        ]
        cells = [
            f"`{name}`",
            f"{settings['family']} {settings['size']}",
            settings["dataset"],
            settings["recipe"],
            "; ".join(others),
            f"{models.count_parameters(network):,}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


LIGHTNING: Final = "compared with Lightning and torchvision"
CURVES: Final = "20 runs × 5 curves × 10,000 points"

MEASUREMENTS: Final[Mapping[str, str]] = {
    "log call -> event-stream client, ms": "From a log call to an event-stream client, ms",
    "log call -> painted by Chromium, ms": "From a log call to a painted point in Chromium, ms",
    "server process start -> first page, s": "From the start of the server process to the first page, s",
    "POST /api/v1/runs -> first training step done, s": "From a launch to the end of the first training step, s",
    **{
        f"{network}: epoch / bare loop, cpu": f"Epoch of {network}, compared with a plain PyTorch loop, CPU time"
        for network in (
            "simple_dense_net small, batch 64",
            "simple_cnn base, batch 128",
            "vit small, batch 128",
        )
    },
    **{
        f"{network}: tuned epoch / Lightning + torchvision, workers {loaders}, {clock}": (
            f"Autotuned epoch of {network}, {LIGHTNING} ({loaders} loader workers), {meaning}"
        )
        for network, loaders, clock, meaning in (
            ("simple_dense_net small, batch 256", 0, "cpu", "CPU time"),
            ("simple_cnn base, batch 128", 0, "cpu", "CPU time"),
            ("simple_cnn base, batch 128", 2, "wall", "wall time"),
            ("efficientnet small, batch 128", 0, "cpu", "CPU time"),
        )
    },
    "simple_cnn base: test / Lightning + torchmetrics, CPU": (
        "Test of simple_cnn base, compared with Lightning and torchmetrics, CPU time"
    ),
    "simple_cnn base to 99%: recipe fast / plain loop, CPU": (
        "Training of simple_cnn base to 99% on MNIST, recipe `fast`, compared with a plain loop with Adam, CPU time"
    ),
    "1 0-d tensor per call: Runyard / TensorBoard": (
        "Logging one scalar tensor per call, compared with TensorBoard, CPU time"
    ),
    "4 0-d tensors per call, between matrix products, Runyard: 99th percentile of a call, µs": (
        "99th percentile of a log call with four scalar tensors, between matrix products, µs"
    ),
    "20 runs, 1 to 500 points of 5 metrics per entry: scalars per CPU second": (
        "Scalars recorded per CPU second, 20 runs, 1 to 500 points of 5 metrics per entry"
    ),
    **{
        f"{CURVES} reduced to 1,000: Runyard / {tracker}, CPU": (
            f"Reducing {CURVES} to 1,000, compared with {tracker}, CPU time"
        )
        for tracker in ("trackio", "MLflow")
    },
    **{
        f"10,000 runs: first page of 50 as {form}, ms": f"First page of 50 of 10,000 runs as {form}, ms"
        for form in ("JSON", "HTML")
    },
    "100,000 runs / 10,000 runs: first, deep and last pages, CPU": (
        "First, deep and last pages of 100,000 runs, compared with 10,000 runs, CPU time"
    ),
    "100,000 runs / 10,000 runs: searched pages, CPU": (
        "Text search in 100,000 runs, compared with 10,000 runs, CPU time"
    ),
    "10,000 runs: the same page, Runyard / MLflow, CPU": (
        "First page of 50 of 10,000 runs by test accuracy, compared with MLflow, CPU time"
    ),
    "log call -> 200 viewers, p99 of all, ms": "From a log call to 200 viewers, 99th percentile of all, ms",
}
"""What docs/speed.md calls the measurements that it quotes, by their names in the results."""


def speed_rows() -> list[str]:
    """The measurements that the page quotes, with the values of the newest results."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    measured = [row for result in results for row in result["rows"]]
    rows = []
    for what, label in MEASUREMENTS.items():
        several = [row for row in measured if row["what"] == what]
        for row in several:
            # Its note says how many of the loops that it is compared with never got there.
            least = "< " if row.get("note") and what.endswith(": recipe fast / plain loop, CPU") else ""
            named = f"{label}, {row['processor']}" if len(several) > 1 else label
            rows.append(f"| {named} | {least}{_rounded(row['median'])} | {least}{_rounded(row['p95'])} | {row['n']} |")
    return rows


def _rounded(value: float) -> str:
    """Three significant digits, with thousands separators."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:g}"


def reference_rows() -> list[str]:
    """Test accuracies of the zoo on real data, as its benchmark measured them."""
    rows = []
    for result in json.loads((RESULTS / "zoo.json").read_text())["references"]:
        # That of two runs is twelve times as wide as their standard error, and says little.
        interval = f" ± {100 * result['half']:.2f}" if result["seeds"] > 2 else ""
        settings = [f"{name} {value}" for name, value in result.get("settings", {}).items()]
        cells = [
            f"{result['family']} {result['size']}",
            f"{result['dataset']}{' (' + result['data'] + ')' if result['data'] else ''}",
            ", ".join([f"`{result['recipe']}`", f"{result['epochs']} epochs", *settings]),
            f"{100 * result['mean']:.2f}{interval}",
            str(result["seeds"]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _time_to_accuracy() -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of ``bench accuracy`` by what they say and the processor."""
    rows = json.loads((RESULTS / "accuracy.json").read_text())["rows"]
    return {(row["what"], row["processor"]): row for row in rows}


def goal_rows() -> list[str]:
    """Training times to validation accuracies on MNIST, of recipe `fast` and of a plain loop."""
    measured = _time_to_accuracy()
    rows = []
    for (what, processor), ratio in measured.items():
        goal = what.removesuffix(": recipe fast / plain loop, CPU")
        if goal == what:
            continue
        fast = measured[f"{goal}, recipe fast: CPU time, s", processor]
        plain = measured[f"{goal}, plain loop, Adam 1e-3: CPU time, s", processor]
        never = plain.get("note", "")
        reached = fast["note"].rpartition(", reached by ")[2] if ", reached by " in fast["note"] else ""
        times = [f"{_rounded(fast['median'])} s", f"{'> ' if never else ''}{_rounded(plain['median'])} s"]
        times[0] += f" (reached by {reached})" if reached else ""
        times[1] += f" ({never})" if never else ""
        cells = [goal, *times, f"{'< ' if never else ''}{_rounded(ratio['median'])}", processor, str(ratio["n"])]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def end_rows() -> list[str]:
    """Validation accuracies on MNIST when recipe `fast` ends, of it and of a plain loop."""
    measured = _time_to_accuracy()
    rows = []
    for (what, processor), plain in measured.items():
        network = what.removesuffix(", plain loop, Adam 1e-3: validation accuracy by then, %")
        if network != what:
            fast = measured[f"{network}, recipe fast: validation accuracy at the end, %", processor]
            cells = [network, f"{fast['median']:.2f}", f"{plain['median']:.2f}", processor, str(plain["n"])]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def speedrun_rows() -> list[str]:
    """The `speedrun` presets with seconds from launch to end and test accuracy."""
    result = json.loads((RESULTS / "speedrun.json").read_text())
    measured = {row["what"]: row for row in result["rows"]}
    rows = []
    for preset in result["runs"]:
        tests, seconds = measured[f"{preset}: test accuracy, %"], measured[f"{preset}: run, s"]
        network, accuracy = tests["note"].split(", mean ")
        span = f"{_rounded(seconds['median'])} s ({_rounded(seconds['min'])} to {_rounded(seconds['max'])})"
        rows.append(f"| `{preset}` | {network} | {accuracy} | {span} | {tests['n']} |")
    return rows


TABLES: Final[Mapping[tuple[str, str], Callable[[], list[str]]]] = {
    ("settings.md", "variable"): setting_rows,
    ("settings.md", "client variable"): client_rows,
    ("networks.md", "family"): family_rows,
    ("datasets.md", "dataset"): dataset_rows,
    ("recipes.md", "recipe"): recipe_rows,
    ("recipes.md", "network"): reference_rows,
    ("recipes.md", "goal"): goal_rows,
    ("recipes.md", "accuracy of"): end_rows,
    ("recipes.md", "preset"): speedrun_rows,
    ("presets.md", "preset"): preset_rows,
    ("speed.md", "measurement"): speed_rows,
}
"""Functions that return a table's rows, by page and first heading."""


def _lines(page: str, heading: str) -> tuple[list[str], int, int]:
    lines = (FOLDER / page).read_text().splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    end = next((place for place in range(first, len(lines)) if not lines[place].startswith("|")), len(lines))
    return lines, first, end


def table(page: str, heading: str) -> list[str]:
    """Return the rows of a page's table as they are now, without its head."""
    lines, first, end = _lines(page, heading)
    return lines[first:end]


def main() -> int:
    """Rewrite every table; the exit status."""
    for (page, heading), rows in TABLES.items():
        lines, first, end = _lines(page, heading)
        lines[first:end] = rows()
        (FOLDER / page).write_text("\n".join(lines) + "\n")
    print(f"{len(TABLES)} tables are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())

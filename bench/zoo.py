"""Test accuracy and training time of the zoo's networks on real data, through a whole Runyard.

Results are kept run by run in ``bench/results/zoo.json``: a benchmark that was interrupted goes on where it stopped,
and runs whose settings have changed since are made again. The catalog and the leaderboard show them as reference
results.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.analysis.statistics import mean_of
from app.contract.catalog import Catalog
from app.contract.settings import Settings
from app.contract.spec import RunConfig, RunSpec, resolve
from bench.instance import Instance
from bench.real_data import available, provide
from bench.report import RESULTS, Row, machine, row, save

SEEDS = (1, 2, 3)
POLL_SECONDS = 0.5

UNTIMED = bool(os.environ.get("BENCH_UNTIMED"))
"""Whether other work runs on this machine: accuracies are recorded then, but not times."""


@dataclass(frozen=True)
class Variant:
    """A network, a dataset and a recipe. ``target``: of the mean test accuracy, in percent."""

    family: str
    size: str
    dataset: str
    recipe: str
    epochs: int | None = None
    target: float | None = None

    @property
    def title(self) -> str:
        """What a row of the results says."""
        return f"{self.family} {self.size} on {self.dataset}, recipe {self.recipe}"

    def spec(self, seed: int) -> dict[str, Any]:
        """The launch request."""
        names = {"family": self.family, "size": self.size, "dataset": self.dataset, "recipe": self.recipe}
        return names | {"seed": seed} | ({"epochs": self.epochs} if self.epochs else {})


def _on_mnist() -> Iterator[Variant]:
    defaults = {
        "simple_dense_net": ("small", "tiny", 98.3),
        "simple_mlp": ("base", "tiny", 98.3),
        "simple_cnn": ("base", "tiny", 99.4),
        "vit": ("small", "tiny", 98.7),
        "convnext_v2": ("base", "tiny", 99.3),
        "efficientnet": ("small", "tiny", 99.3),
    }
    for recipe, slack in (("fast", 0.4), ("default", 0.0)):
        for family, (size, smallest, target) in defaults.items():
            yield Variant(family, size, "mnist", recipe, target=round(target - slack, 2))
            yield Variant(family, smallest, "mnist", recipe)
    # As many of its 200 epochs as an hour of one core has room for.
    yield Variant("vit", "small", "mnist", "vit_mnist_995", epochs=23)


def _on_digits() -> Iterator[Variant]:
    sizes = {"simple_dense_net": "small", "simple_mlp": "base", "simple_cnn": "base"}
    sizes |= {"convnext_v2": "base", "vit": "small", "efficientnet": "small"}
    for family, size in sizes.items():
        yield Variant(family, size, "digits", "default", target=97.0)


def _on_cifar10() -> Iterator[Variant]:
    for family, size in (("simple_cnn", "large"), ("convnext_v2", "base"), ("vit", "small"), ("efficientnet", "small")):
        yield Variant(family, size, "cifar10", "cifar", epochs=15)


VARIANTS = (*_on_digits(), *_on_mnist(), *_on_cifar10())


def main() -> None:
    """Train every variant for which there is data, seed by seed. BENCH_ZOO="mlp;on digits" restricts them.

    BENCH_UNTIMED=1 trains a run on each core, and is for a machine that does other work too: it records no times.
    """
    source = Settings().datasets
    storage = {"digits": ""} | available(source)
    for name in sorted({variant.dataset for variant in VARIANTS} - set(storage)):
        print(f"no real {name} in {source}: its variants are left out")
    variants = [variant for variant in VARIANTS if variant.dataset in storage]
    only = os.environ.get("BENCH_ZOO", "").split(";")
    variants = [variant for variant in variants if any(part in variant.title for part in only)]
    runs = _kept()
    # One slot, so that each run has all cores and its time means something; otherwise one for each core, since two runs
    # with a thread each train more in an hour than one after the other with two.
    slots = os.cpu_count() or 1 if UNTIMED else 1
    with Instance(RUNYARD_SLOTS=str(slots), RUNYARD_DEVICE="cpu") as instance, ThreadPoolExecutor(slots) as pool:
        for name in sorted({variant.dataset for variant in variants} - {"digits"}):
            provide(name, source, instance.data / "datasets")
        instance.call("/architectures")  # answered once the catalog is saved
        catalog = Catalog.model_validate(json.loads((instance.data / "catalog.json").read_text())["found"])
        missing = {}
        for seed in SEEDS:
            for variant in variants:
                config = resolve(RunSpec.model_validate(variant.spec(seed)), catalog)
                key = _key(variant, config, seed)
                if key not in runs:
                    # With every run, since those of another day or machine are kept.
                    about = {"epochs": config.epochs, "data": storage[variant.dataset], **_origin()}
                    missing[pool.submit(_train, instance, variant, seed)] = (key, about)
        try:
            for finished in as_completed(missing):
                key, about = missing[finished]
                runs[key] = finished.result() | about
                _save(runs)
        finally:
            pool.shutdown(cancel_futures=True)


def _key(variant: Variant, config: RunConfig, seed: int) -> str:
    # Without defaults, so that a new setting does not void earlier runs, which trained as if it had its default.
    settings = config.model_dump(exclude_defaults=True, exclude={"seed"})
    trained = json.dumps({name: settings[name] for name in sorted(settings)})
    return f"{variant.title}, seed {seed}, settings {hashlib.sha256(trained.encode()).hexdigest()[:12]}"


def _train(instance: Instance, variant: Variant, seed: int) -> dict[str, Any]:
    run = instance.call("/runs", variant.spec(seed))["id"]
    found = instance.wait(run, "succeeded", pause=POLL_SECONDS)
    result = {
        "title": variant.title,
        "seed": seed,
        "test": found["summary"]["test/acc"]["last"],
        "validation": found["summary"]["val/acc"]["best"],
        "seconds": None if UNTIMED else found["seconds"],
    }
    print(f"{variant.title}, seed {seed}: {100 * result['test']:.2f}% in {found['seconds']:.0f} s", flush=True)
    return result


def _kept() -> dict[str, dict[str, Any]]:
    """The runs of earlier calls by key."""
    file = RESULTS / "zoo.json"
    if not file.exists():
        return {}
    runs: dict[str, dict[str, Any]] = json.loads(file.read_text())["runs"]
    return runs


def _origin() -> dict[str, str]:
    here = machine()
    return {"machine": f"{here['cores']} cores of {here['processor']}", "date": datetime.now(UTC).date().isoformat()}


def _save(runs: dict[str, dict[str, Any]]) -> None:
    rows: list[Row] = []
    references = []
    for variant in VARIANTS:
        own = {key: run for key, run in runs.items() if run["title"] == variant.title}
        # Of several settings, those of the newest run.
        digests = [key.rsplit(" ", 1)[1] for key in own]
        results = [run for key, run in own.items() if digests and key.endswith(digests[-1])]
        if not results:
            continue
        accuracy = mean_of([run["test"] for run in results])
        interval = "" if accuracy.half is None else f" ± {100 * accuracy.half:.2f}"
        rows.append(
            row(
                f"{variant.title}: test accuracy, %",
                [100 * run["test"] for run in results],
                f">= {variant.target}" if variant.target else "",
                slack=0,  # an accuracy does not depend on how busy the machine is
                note=f"mean {100 * accuracy.mean:.2f}{interval}, {results[0]['epochs']} epochs",
            )
        )
        seconds = [run["seconds"] for run in results if run["seconds"] is not None]
        if seconds:
            rows.append(row(f"{variant.title}: training time, s", seconds))
        references.append(
            {
                **{name: getattr(variant, name) for name in ("family", "size", "dataset", "recipe")},
                **{name: results[-1][name] for name in ("epochs", "machine", "date", "data")},
                "seeds": len(results),
                "mean": accuracy.mean,
                "half": accuracy.half,
                "seconds": statistics.median(seconds) if seconds else None,
            }
        )
    save("zoo", rows, references=references, runs=runs)

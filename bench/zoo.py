"""Test accuracy and training time of the zoo's networks on real data, through a whole Runyard.

Results are kept run by run in ``bench/results/zoo.json``: a benchmark that was interrupted goes on where it stopped,
and runs whose settings have changed since are made again. The pages Architectures and Leaderboard show them as
references.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from typing import Any

from app.contract.catalog import Catalog
from app.contract.settings import Settings
from app.contract.spec import RunConfig, RunSpec, resolve
from bench.instance import Instance
from bench.real_data import available, provide
from bench.report import machine_name
from bench.zoo_results import Results
from bench.zoo_variants import VARIANTS, Variant, chosen

POLL_SECONDS = 0.5

UNTIMED = bool(os.environ.get("BENCH_UNTIMED"))
"""Whether other work runs on this machine: accuracies are recorded then, but not times."""


def main() -> None:
    """Train every variant for which there is data, seed by seed. BENCH_ZOO="mlp;on digits" restricts them.

    BENCH_UNTIMED=1 trains a run on each core, and is for a machine that does other work too: it records no times.
    """
    source = Settings().datasets
    storage = {"digits": ""} | available(source)
    for name in sorted({variant.dataset for variant in VARIANTS} - set(storage)):
        print(f"no real {name} in {source}: its variants are left out")
    variants = chosen(storage)
    results = Results.kept()
    # One slot, so that each run has all cores and its time means something; otherwise one for each core, since two runs
    # with a thread each train more in an hour than one after the other with two.
    slots = os.cpu_count() or 1 if UNTIMED else 1
    with Instance(RUNYARD_SLOTS=str(slots), RUNYARD_DEVICE="cpu") as instance, ThreadPoolExecutor(slots) as pool:
        for name in sorted({variant.dataset for variant in variants} - {"digits"}):
            provide(name, source, instance.data / "datasets")
        instance.call("/architectures")  # answered once the catalog is saved
        catalog = Catalog.model_validate(json.loads((instance.data / "catalog.json").read_text())["found"])
        missing = {}
        for seed in sorted({seed for variant in variants for seed in variant.seeds}):
            for variant in (each for each in variants if seed in each.seeds):
                config = resolve(RunSpec.model_validate(variant.spec(seed)), catalog)
                key = _key(variant, config, seed)
                if key not in results.runs:
                    # With every run, since those of another day or machine are kept.
                    about = {"epochs": config.epochs, "data": storage[variant.dataset], **_origin()}
                    missing[pool.submit(_train, instance, variant, seed)] = (key, about)
        try:
            for finished in as_completed(missing):
                key, about = missing[finished]
                results.runs[key] = finished.result() | about
                results.save()
        finally:
            pool.shutdown(cancel_futures=True)
    results.save(show=True)


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


def _origin() -> dict[str, str]:
    return {"machine": machine_name(), "date": datetime.now(UTC).date().isoformat()}

"""Training time of the zoo's networks on real data, from one epoch of each variant of ``bench/zoo.py``.

For a machine with nothing else to do: its runs may have been trained beside other work, and training them again would
take hours. The seconds are those from the first step to the end of the validation of a run's only epoch, on all cores.
They are kept in ``bench/results/zoo.json``; what has its seconds is not measured again. BENCH_ZOO restricts the
variants as in ``bench/zoo.py``.
"""

from __future__ import annotations

from app.contract.settings import Settings
from bench.instance import Instance
from bench.real_data import available, provide
from bench.report import machine_name
from bench.zoo import POLL_SECONDS
from bench.zoo_results import Results
from bench.zoo_variants import Variant, chosen


def main() -> None:
    """Measure every variant without a timed run, also those that are still to be trained."""
    source = Settings().datasets
    storage = {"digits": ""} | available(source)
    results = Results.kept()
    missing = [variant for variant in chosen(storage) if results.lacks_time(variant)]
    with Instance(RUNYARD_SLOTS="1", RUNYARD_DEVICE="cpu") as instance:
        for name in sorted({variant.dataset for variant in missing} - {"digits"}):
            provide(name, source, instance.data / "datasets")
        for variant in missing:
            seconds = _seconds(instance, variant)
            results.epoch_times[variant.title] = {"seconds": seconds, "machine": machine_name()}
            print(f"{variant.title}: {seconds:.1f} s an epoch", flush=True)
            results.save()


def _seconds(instance: Instance, variant: Variant) -> float:
    run = instance.call("/runs", variant.spec(1) | {"epochs": 1})["id"]
    instance.wait(run, "succeeded", pause=POLL_SECONDS)
    curves = instance.call(f"/runs/{run}/metrics?points=0&names=val/acc,train/loss")
    began, ended = curves["train/loss"]["time"][0], curves["val/acc"]["time"][-1]
    return round(float(ended - began), 2)

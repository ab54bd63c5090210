"""Results of the zoo, kept run by run in ``bench/results/zoo.json``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from app.analysis.statistics import mean_of
from app.contract.recipes import recipe_settings
from bench.report import RESULTS, Row, row, save
from bench.zoo_variants import VARIANTS, Variant

Run = dict[str, Any]


class EpochTime(TypedDict):
    """Seconds of an epoch, and what they were measured on."""

    seconds: float
    machine: str


@dataclass(frozen=True)
class RunTime:
    """Seconds of a run on ``machine``: the median of ``measured``, else an estimate from an epoch, else None."""

    seconds: float | None
    machine: str
    measured: Sequence[float] = ()


@dataclass
class Results:
    """``runs`` by key, which ends with a digest of the settings; ``epoch_times`` by the title of a variant."""

    runs: dict[str, Run]
    epoch_times: dict[str, EpochTime]

    @classmethod
    def kept(cls) -> Results:
        """Those of earlier calls."""
        file = RESULTS / "zoo.json"
        found = json.loads(file.read_text()) if file.exists() else {}
        return cls(found.get("runs", {}), found.get("epoch_times", {}))

    def of(self, variant: Variant) -> list[Run]:
        """The runs of a variant; of several settings, those of the newest run."""
        own = {key: run for key, run in self.runs.items() if run["title"] == variant.title}
        digests = [key.rsplit(" ", 1)[1] for key in own]
        return [run for key, run in own.items() if digests and key.endswith(digests[-1])]

    def lacks_time(self, variant: Variant) -> bool:
        """Whether a variant has neither a timed run nor the time of an epoch."""
        return variant.title not in self.epoch_times and all(run["seconds"] is None for run in self.of(variant))

    def save(self, show: bool = False) -> None:
        """Write the results with the mean accuracy of every variant, which pages show as references; print them, too.

        Their ``seconds`` are the median of timed runs, else ``estimated`` from the time of an epoch, else None.
        """
        rows: list[Row] = []
        references = []
        for variant in VARIANTS:
            results = self.of(variant)
            if not results:
                continue
            accuracy = mean_of([run["test"] for run in results])
            # The interval of two runs is 12.7 times as wide as their standard error, and says little.
            half = accuracy.half if len(results) > 2 else None
            interval = "" if half is None else f" ± {100 * half:.2f}"
            rows.append(
                row(
                    f"{variant.title}: test accuracy, %",
                    [100 * run["test"] for run in results],
                    f">= {variant.target}" if variant.target else "",
                    slack=0,  # an accuracy does not depend on how busy the machine is
                    note=f"mean {100 * accuracy.mean:.2f}{interval}, {results[0]['epochs']} epochs",
                )
            )
            time = self._time(variant, results)
            if time.measured:
                rows.append(row(f"{variant.title}: training time, s", time.measured))
            references.append(
                {
                    **{name: getattr(variant, name) for name in ("family", "size", "dataset", "recipe")},
                    **{name: results[-1][name] for name in ("epochs", "date", "data")},
                    "seeds": len(results),
                    "mean": accuracy.mean,
                    "half": half,
                    "seconds": time.seconds,
                    "estimated": time.seconds is not None and not time.measured,
                    "machine": time.machine,
                }
            )
        save("zoo", rows, show, references=references + _speedruns(), runs=self.runs, epoch_times=self.epoch_times)

    def _time(self, variant: Variant, results: list[Run]) -> RunTime:
        timed = [run for run in results if run["seconds"] is not None]
        if timed:
            # Times of different machines have no median.
            machine = timed[-1]["machine"]
            measured = [run["seconds"] for run in timed if run["machine"] == machine]
            return RunTime(statistics.median(measured), machine, measured)
        if epoch := self.epoch_times.get(variant.title):
            return RunTime(round(epoch["seconds"] * results[-1]["epochs"], 1), epoch["machine"])
        return RunTime(None, results[-1]["machine"])


def _speedruns() -> list[dict[str, Any]]:
    """References from the presets that ``bench/speedrun.py`` has measured."""
    file = RESULTS / "speedrun.json"
    if not file.exists():
        return []
    result = json.loads(file.read_text())
    references = []
    for name, runs in result["runs"].items():
        preset = dict(result["presets"][name])
        network = {key: preset.pop(key) for key in ("family", "size", "dataset", "recipe")}
        usual = recipe_settings(network["recipe"], network["family"], network["dataset"])["epochs"]
        accuracy = mean_of([run["test"] for run in runs])
        references.append(
            {
                **network,
                "epochs": preset.pop("epochs", usual),
                "settings": preset,
                "date": result["date"],
                "data": "",
                "seeds": len(runs),
                "mean": accuracy.mean,
                "half": accuracy.half,
                "seconds": statistics.median(run["seconds"] for run in runs),
                "machine": f"{result['machine']['cores']} cores of {result['machine']['processor']}",
            }
        )
    return references

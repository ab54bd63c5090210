"""Results of the zoo, kept run by run in ``bench/results/zoo.json``."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import Any

from app.analysis.statistics import mean_of
from bench.report import RESULTS, Row, row, save
from bench.zoo_variants import VARIANTS, Variant

Run = dict[str, Any]


@dataclass
class Results:
    """``runs`` by key, which ends with a digest of the settings; ``epoch_seconds`` by the title of a variant."""

    runs: dict[str, Run]
    epoch_seconds: dict[str, float]

    @classmethod
    def kept(cls) -> Results:
        """Those of earlier calls."""
        file = RESULTS / "zoo.json"
        found = json.loads(file.read_text()) if file.exists() else {}
        return cls(found.get("runs", {}), found.get("epoch_seconds", {}))

    def of(self, variant: Variant) -> list[Run]:
        """The runs of a variant; of several settings, those of the newest run."""
        own = {key: run for key, run in self.runs.items() if run["title"] == variant.title}
        digests = [key.rsplit(" ", 1)[1] for key in own]
        return [run for key, run in own.items() if digests and key.endswith(digests[-1])]

    def lacks_time(self, variant: Variant) -> bool:
        """Whether a variant has neither a timed run nor the time of an epoch."""
        return variant.title not in self.epoch_seconds and all(run["seconds"] is None for run in self.of(variant))

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
            seconds = [run["seconds"] for run in results if run["seconds"] is not None]
            if seconds:
                rows.append(row(f"{variant.title}: training time, s", seconds))
            epoch = self.epoch_seconds.get(variant.title)
            estimate = None if epoch is None else round(epoch * results[-1]["epochs"], 1)
            references.append(
                {
                    **{name: getattr(variant, name) for name in ("family", "size", "dataset", "recipe")},
                    **{name: results[-1][name] for name in ("epochs", "machine", "date", "data")},
                    "seeds": len(results),
                    "mean": accuracy.mean,
                    "half": half,
                    "seconds": statistics.median(seconds) if seconds else estimate,
                    "estimated": not seconds and estimate is not None,
                }
            )
        save("zoo", rows, show, references=references, runs=self.runs, epoch_seconds=self.epoch_seconds)

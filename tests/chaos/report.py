"""The report of all campaigns: ``bench/results/chaos.json``, one entry for each seed and database."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.report import RESULTS, machine
from tests.chaos.campaign import Result

PATH = RESULTS / "chaos.json"


def merge(results: list[Result], path: Path = PATH) -> dict[str, Any]:
    """Add campaigns to the report, in place of earlier ones with their seed and database, and save it."""
    earlier = json.loads(path.read_text())["campaigns"] if path.exists() else []
    new = {(result.seed, result.database) for result in results}
    campaigns = [each for each in earlier if (each["seed"], each["database"]) not in new]
    campaigns += [result.row() for result in results]
    campaigns.sort(key=lambda each: (each["database"], each["seed"]))
    fired: Counter[str] = Counter()
    on: Counter[str] = Counter()
    for each in campaigns:
        fired.update(each["fired"])
        on[each["database"]] += each["faults"]
    report = {
        "bench": "chaos",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "faults": fired.total(),
        "fired": dict(sorted(fired.items())),
        "findings": sum(len(each["findings"]) for each in campaigns),
        "campaigns": campaigns,
        "rows": [{"what": f"faults on {database}", "n": count} for database, count in sorted(on.items())],
    }
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report

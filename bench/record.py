"""How a measurement is printed, held against its target and kept."""

from __future__ import annotations

import json
import operator
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "torchvision", "lightning", "fastapi", "redis", "celery", "numpy")
_HOLDS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}
# What the noise of these machines is allowed to make of a figure that is held against a target.
SLACK = 0.15

Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """What was measured on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile, smallest and largest of values."""
    ordered = sorted(values)

    def percentile(share: float) -> float:
        return _rounded(ordered[min(len(ordered) - 1, int(share * len(ordered)))])

    return {
        "n": len(ordered),
        "median": _rounded(statistics.median(ordered)),
        "p95": percentile(0.95),
        "p99": percentile(0.99),
        "min": _rounded(ordered[0]),
        "max": _rounded(ordered[-1]),
    }


def row(what: str, values: Sequence[float], target: str = "", judged_by: str = "median", note: str = "") -> Row:
    """A row of a result: a figure with its unit, how it was spread, and whether it met its target.

    target: "<= 1.05", held against the column ``judged_by``. met is "yes", "within slack" where up to 15 % of noise
    would explain the rest, or how far off it is.
    """
    found: Row = {"what": what, **spread(values)}
    if target:
        found |= {"target": f"{judged_by} {target}", "met": verdict(found[judged_by], target)}
    return found | ({"note": note} if note else {})


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, pair by pair, as the two were measured one after the other."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def verdict(figure: float, target: str) -> str:
    """Whether a figure meets a target such as "<= 1.05"."""
    sign, number = target.split()
    limit = float(number)
    if _HOLDS[sign](figure, limit):
        return "yes"
    slack = limit * (1 + SLACK if sign.startswith("<") else 1 - SLACK)
    if _HOLDS[sign](figure, slack):
        return "within slack"
    return f"no: {figure / limit:.2f} × the target"


def keep(name: str, rows: list[Row], **more: Any) -> None:
    """Print rows as a table, and keep them with machine, versions and date in ``bench/results``."""
    print_rows(rows)
    RESULTS.mkdir(exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    kept = {"bench": name, "date": date, "machine": machine(), **more, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def print_rows(rows: list[Row], columns: Sequence[str] = ()) -> None:
    """Rows as a table; without ``columns`` with all that any of them has, notes below."""
    columns = columns or [name for name in dict.fromkeys(name for each in rows for name in each) if name != "note"]
    cells = [list(columns)] + [[_written(each.get(column, "")) for column in columns] for each in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for each in rows:
        if "note" in each:
            print(f"  {each['what']}: {each['note']}")


def print_targets() -> None:
    """Every row of every result that has a target, with its figure beside it."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        kept = json.loads(path.read_text())
        for each in kept["rows"]:
            if each.get("target"):
                judged_by = each["target"].split()[0]
                rows.append({"bench": kept["bench"], "figure": each.get(judged_by, ""), **each})
    print_rows(rows, ("bench", "what", "target", "figure", "met"))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _written(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)

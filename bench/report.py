"""Print measurements, compare them with targets, and save them."""

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
# Tolerance for noise of these machines when a result is compared with a target.
SLACK = 0.15

Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """Describe this machine."""
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


def machine_name() -> str:
    """This machine in words, such as "2 cores of AMD EPYC"."""
    here = machine()
    return f"{here['cores']} cores of {here['processor']}"


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile, minimum and maximum."""
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


def row(
    what: str,
    values: Sequence[float],
    target: str = "",
    judged_by: str = "median",
    note: str = "",
    slack: float = SLACK,
) -> Row:
    """Make a row of a result: label with unit, distribution, and whether it met its target.

    ``target``, such as "<= 1.05", applies to the column ``judged_by``. met is "yes", "within slack" if noise of
    up to ``slack`` of the target would explain the difference, or how far off it is.
    """
    result: Row = {"what": what, **summary(values)}
    if target:
        result |= {"target": f"{judged_by} {target}", "met": verdict(result[judged_by], target, slack)}
    return result | ({"note": note} if note else {})


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ratios of pairs that were measured one after the other."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def verdict(figure: float, target: str, slack: float = SLACK) -> str:
    """Whether a figure meets a target such as "<= 1.05"; see `row`."""
    sign, number = target.split()
    limit = float(number)
    if _HOLDS[sign](figure, limit):
        return "yes"
    loosened = limit * (1 + slack if sign.startswith("<") else 1 - slack)
    if _HOLDS[sign](figure, loosened):
        return "within slack"
    return f"no: {figure / limit:.2f} × the target" if limit else f"no: {figure:.3g}"


def save(name: str, rows: list[Row], show: bool = True, **more: Any) -> None:
    """Save rows with machine, versions and date in ``bench/results``, and ``show`` them as a table."""
    if show:
        print_rows(rows)
    RESULTS.mkdir(exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    result = {"bench": name, "date": date, "machine": machine(), **more, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def print_rows(rows: list[Row], columns: Sequence[str] = ()) -> None:
    """Print rows as a table with notes below; default columns: all that any row has."""
    columns = columns or [name for name in dict.fromkeys(name for row_ in rows for name in row_) if name != "note"]
    cells = [list(columns)] + [[_formatted(row_.get(column, "")) for column in columns] for row_ in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row_ in rows:
        if "note" in row_:
            print(f"  {row_['what']}: {row_['note']}")


def print_targets() -> None:
    """Print every row of every result that has a target, with its figure."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        for row_ in result["rows"]:
            if row_.get("target"):
                judged_by = row_["target"].split()[0]
                rows.append({"bench": result["bench"], "figure": row_.get(judged_by, ""), **row_})
    print_rows(rows, ("bench", "what", "target", "figure", "met"))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _formatted(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)

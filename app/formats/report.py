"""Report of a comparison: one HTML file with its style and curves inside, without scripts or external files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from app.web.rendering import ROOT

SHEETS = ("tables.css", "runyard.css", "compare.css", "report.css")


@cache
def style() -> str:
    """Return the style sheets of a report."""
    return "\n".join((ROOT / "static" / name).read_text() for name in SHEETS).replace("</", "<\\/")


def file_name(numbers: Iterable[int]) -> str:
    """Return the file name of the report on these runs."""
    joined = "-".join(str(number) for number in numbers)
    return f"runyard-comparison-{joined[:60].rstrip('-')}.html"

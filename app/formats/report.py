"""A comparison as one file that opens anywhere: its style inside, its curves drawn, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from app.web.rendering import ROOT

SHEETS = ("runyard.css", "compare.css", "report.css")


@cache
def style() -> str:
    """The style of the pages, and what a report has beside it."""
    return "\n".join((ROOT / "static" / name).read_text() for name in SHEETS).replace("</", "<\\/")


def file_name(numbers: Iterable[int]) -> str:
    """What the file of a comparison of these runs is called."""
    said = "-".join(str(number) for number in numbers)
    return f"runyard-comparison-{said[:60].rstrip('-')}.html"

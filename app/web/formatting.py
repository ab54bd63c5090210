"""Formatting of numbers, durations, times, settings and colors for pages."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from pydantic_core import to_json

from app.contract.errors import upper_first as upper_first
from app.contract.metric_names import is_accuracy
from app.contract.timestamps import iso

COLORS = 8
DASHES = 7
FIGURE_SPACE = "\u2007"
"""As wide as a digit."""
PUNCTUATION_SPACE = "\u2008"
"""As wide as a comma."""


def format_number(value: float | None, digits: int = 4) -> str:
    """Format a value with ``digits`` significant digits; an en dash if there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}"


def count(value: int | None) -> str:
    """Format an integer with thousands separators and a real minus: 421,834, −5."""
    return "–" if value is None else f"{value:,}".replace("-", "−")


def padded(text: str, longest: str) -> str:
    """Pad a count on the right to the width of the longest one in its place, so that what follows does not move."""
    missing = longest[: max(0, len(longest) - len(text))]
    return text + "".join(PUNCTUATION_SPACE if sign == "," else FIGURE_SPACE for sign in missing)


def format_short(value: float | None) -> str:
    """Format a number with three digits: 182k, 1.42M."""
    if value is None or not math.isfinite(value):
        return "–"
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def format_flops(value: int) -> str:
    """Format a number of floating-point operations: 8.3 MFLOPs, 320 FLOPs."""
    short = format_short(value)
    return f"{short[:-1]} {short[-1]}FLOPs" if short[-1] in "kMG" else f"{short} FLOPs"


def metric_value(name: str, value: float | None) -> str:
    """Format a metric's value: accuracies in percent, everything else as a number."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.2f}%" if is_accuracy(name) else format_number(value)


def format_duration(seconds: float | None) -> str:
    """Format a duration in its two largest units: 2 min 10 s."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")
    return f"{whole // 86_400} d" + (f" {whole % 86_400 // 3600} h" if whole % 86_400 >= 3600 else "")


def format_bytes(value: int | None, step: int = 1024) -> str:
    """Format an amount of memory, in units of 1024 (79.6 GiB, for devices) or 1000 (57.6 MB, for costs)."""
    if not value:
        return "–"
    size, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB") if step == 1024 else ("kB", "MB", "GB", "TB"):
        if size < step:
            break
        size, unit = size / step, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"


def format_setting(value: Any) -> str:
    """Format a run's setting as a user would write it."""
    match value:
        case None | "" | [] | {}:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case int():
            return str(value)
        case list():
            return ", ".join(format_setting(entry) for entry in value)
        case dict():
            return ", ".join(f"{name} {format_setting(entry)}" for name, entry in value.items())
    return str(value)


def time_tag(seconds: float | None, shown: str = "relative") -> str:
    """Format a timestamp as a UTC ``<time>`` element; `relative-time.js` converts it to the viewer's time zone.

    ``shown``: relative (5 min ago), future (in 5 min) or clock.
    """
    if seconds is None:
        return "–"
    at = datetime.fromtimestamp(seconds, UTC)
    text = f"{at:%H:%M:%S}" if shown == "clock" else f"{at:%Y-%m-%d %H:%M} UTC"
    # No part of it is user input, and Markup.format takes three times as long.
    return Markup(f'<time datetime="{iso(seconds)}" data-shown="{shown}">{text}</time>')


def color(number: int) -> str:
    """Return the CSS classes of a run's color and dash pattern, the same on every page."""
    return f"c{(number - 1) % COLORS + 1} d{(number - 1) // COLORS % DASHES}"


def data_block(value: Any) -> Markup:
    """Return JSON for a ``<script type="application/json">``; escaped, so it cannot end the element; NaN is null."""
    # Ten times as fast as the standard library, and a page of curves has megabytes of JSON.
    written = to_json(value, inf_nan_mode="null").decode()
    return Markup(written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))

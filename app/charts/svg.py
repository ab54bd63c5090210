"""Server-side drawing of charts for the first paint: SVG lines, bands, ticks and labels.

`static/chart.js` redraws the same charts from the same points, with zoom and a crosshair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from app.analysis.curves import Points, smoothed
from app.charts.chart_specs import Chart
from app.store.live_change import Mark
from app.store.metric import Curve, Floats, envelope
from app.store.training_time import trained_seconds_at
from app.web.formatting import format_duration, format_number

DRAWN_POINTS = 600
CROWDED_POINTS = 6000
"""The most points drawn per curve (DRAWN_POINTS), and of all curves of a crowded chart together."""
AXES = ("step", "epoch", "time", "clock")
"""The x axis: steps, epochs, seconds of training of each run, or wall-clock time."""
SIZE = 1000


@dataclass(frozen=True)
class Controls:
    """Chart controls set by the viewer, stored in the address of the page."""

    x: str = "step"
    smoothing: float = 0.6
    log: bool = False


@dataclass(frozen=True)
class Line:
    css: str
    points: str
    faint: bool = False
    dot: tuple[float, float] | None = None


@dataclass(frozen=True)
class Tick:
    at: str
    label: str


@dataclass(frozen=True)
class ChartMark:
    """An event marked on the x axis."""

    kind: str
    at: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A chart in SVG coordinates of 0 to 1000, with ticks in percent. ``last``: the last value of each series.

    ``bands``: areas behind the lines.
    """

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    points: int
    last: dict[str, str]
    bands: list[Line] = field(default_factory=list)
    marks: list[ChartMark] = field(default_factory=list)


# Lines ---------------------------------------------------------------------------------------------------------------


def spark(curve: Curve | None, points: int = 80) -> str:
    """Return a curve as polyline points in a box of 100 × 24, without axes."""
    if curve is None:
        return ""
    reduced = envelope(curve, points)
    good = np.isfinite(reduced.values)
    x, y = reduced.steps[good].astype(float), reduced.values[good]
    if len(x) < 2:
        return ""
    return _polyline(_scaled(x, x[0], x[-1], 0, 100), _scaled(y, y.min(), y.max(), 22, 2))


def _polyline(x: Floats, y: Floats) -> str:
    """Return SVG points, rounded to a tenth."""
    # One long format string takes a third of the time of formatting each point.
    return " ".join(["%.1f,%.1f"] * len(x)) % tuple(np.column_stack((x, y)).ravel().tolist())


def _scaled(values: Floats, low: float, high: float, first: float, last: float) -> Floats:
    if high <= low:
        return np.full(len(values), (first + last) / 2)
    return first + (values - low) / (high - low) * (last - first)


def x_of(points: Points, axis: str) -> Floats:
    """Return the x values of a curve: steps, epochs, seconds of training, or seconds since 1970."""
    if axis == "epoch" and points.steps_per_epoch:
        return np.asarray(points.curve.steps / points.steps_per_epoch, dtype=float)
    if axis == "clock":
        return np.asarray(points.curve.times, dtype=float)
    if axis == "time":
        return trained_seconds_at(points.stretches, points.curve.times)
    return points.curve.steps.astype(float)


def draw(chart: Chart, points: dict[str, Points], controls: Controls, marks: Sequence[Mark] = ()) -> Picture:
    """Draw the first paint of a chart, with marks of events of its run."""
    drawn: list[tuple[str, Floats, Floats, bool]] = []
    areas: list[tuple[str, Floats, Floats, Floats]] = []
    total = 0
    last: dict[str, str] = {}
    max_points = max(100, CROWDED_POINTS // len(chart.series)) if chart.crowded else DRAWN_POINTS
    for series in chart.series:
        if series.id not in points:
            continue
        curve_points = points[series.id]
        total += len(curve_points.curve.steps)
        if controls.x == "clock" and not curve_points.has_clock:
            continue
        raw = curve_points.curve
        if series.smooth and 0 < controls.smoothing < 1:
            smooth = (
                curve_points.smooth.curve
                if curve_points.smooth
                else Curve(raw.steps, smoothed(raw.values, controls.smoothing), raw.times)
            )
            last[series.id] = value_label(smooth, chart.unit)
            # In a crowded chart, faint raw curves would hide the other curves.
            if not chart.crowded:
                drawn.append((series.css, *_reduced(curve_points, raw, controls.x, max_points), True))
            drawn.append((series.css, *_reduced(curve_points, smooth, controls.x, max_points), False))
        else:
            last[series.id] = value_label(raw, chart.unit)
            drawn.append((series.css, *_reduced(curve_points, raw, controls.x, max_points), False))
        banded = (
            curve_points.smooth if curve_points.smooth and series.smooth and controls.smoothing > 0 else curve_points
        )
        if banded.band is not None:
            x_values = x_of(replace(curve_points, curve=banded.curve), controls.x)
            areas.append((series.css, x_values, banded.band.low, banded.band.high))
    log = controls.log and chart.log
    usable = [y[_drawable(y, log)] for _, _, y, _ in drawn]
    usable += [y[_drawable(y, log)] for _, _, *ends in areas for y in ends]
    xs = [x for _, x, _, _ in drawn if len(x)]
    if not any(len(y) for y in usable):
        return Picture([], [], [], total, last)
    x_low, x_high = min(float(x.min()) for x in xs), max(float(x.max()) for x in xs)
    # Steps per second if they are times since 1970, else 0.
    rate = _steps_per_second(x_low, x_high) if controls.x == "step" else 0.0
    x_low = min(x_low, 0.0) if controls.x in ("step", "epoch") and not rate else x_low
    low, high = min(float(y.min()) for y in usable if len(y)), max(float(y.max()) for y in usable if len(y))
    place: Callable[[Floats], Floats]
    if log:
        low, high = math.log10(low), math.log10(high)
        low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
        y_ticks = [(10.0**power, float(power)) for power in range(math.ceil(low), math.floor(high) + 1)]
        place = np.log10
    else:
        low, high = _padded(low, high, chart.ceiling)
        y_ticks = [(value, value) for value in ticks(low, high, 5)]
        place = np.asarray
    lines = [_line(css, x, y, faint, (x_low, x_high), (low, high), place, log) for css, x, y, faint in drawn]
    return Picture(
        [line for line in lines if line.points or line.dot],
        _x_ticks(x_low, x_high, controls.x, rate) if x_high > x_low else [],
        [Tick(_percent(position, high, low), y_label(value, chart.unit)) for value, position in y_ticks],
        total,
        last,
        [_area(area, (x_low, x_high), (low, high), place, log) for area in areas],
        _chart_marks(marks, next(iter(points.values())), controls.x, (x_low, x_high)),
    )


def _padded(low: float, high: float, ceiling: float) -> tuple[float, float]:
    """Return a y range with a margin of 5%, but neither below zero nor above ``ceiling`` if no value is."""
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 0.5
    return (
        max(0.0, low - margin) if low >= 0 else low - margin,
        min(ceiling, high + margin) if high <= ceiling else high + margin,
    )


EARLIEST_SECONDS, LATEST_SECONDS = 1e9, 4_102_444_800.0
"""Steps between September 2001 and 2100 are taken for times, if they are milliseconds or nanoseconds."""


def _steps_per_second(low: float, high: float) -> float:
    rates = (1e3, 1e9)
    return next((rate for rate in rates if low >= EARLIEST_SECONDS * rate and high < LATEST_SECONDS * rate), 0.0)


def _x_ticks(low: float, high: float, axis: str, rate: float) -> list[Tick]:
    if rate:
        times = clock_ticks(low / rate, high / rate, 6)
        return [Tick(_percent(time * rate, low, high), x_label(time, "clock")) for time in times]
    values = clock_ticks(low, high, 6) if axis == "clock" else ticks(low, high, 6)
    distance = values[1] - values[0] if len(values) > 1 else 0.0
    return [Tick(_percent(value, low, high), x_label(value, axis, distance)) for value in values]


def _chart_marks(marks: Sequence[Mark], points: Points, axis: str, x_range: tuple[float, float]) -> list[ChartMark]:
    mark_curve = Curve(
        np.array([mark.step for mark in marks], np.int64), np.empty(0), np.array([mark.time for mark in marks])
    )
    places = x_of(Points(mark_curve, points.steps_per_epoch, points.stretches), axis)
    low, high = x_range
    return [
        ChartMark(mark.kind, _percent(float(x), low, high), mark.text)
        for mark, x in zip(marks, places, strict=True)
        if low <= x <= high and low < high
    ]


def _area(
    area: tuple[str, Floats, Floats, Floats],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    place: Callable[[Floats], Floats],
    log: bool,
) -> Line:
    css, x, low, high = area
    good = _drawable(low, log) & _drawable(high, log)
    across = _scaled(x[good], *x_range, 0, SIZE)
    up = [_scaled(place(end[good]), *y_range, SIZE, 0) for end in (low, high)]
    outline = np.concatenate((up[0], up[1][::-1]))
    return Line(css, _polyline(np.concatenate((across, across[::-1])), outline) if len(across) > 1 else "")


def _reduced(curve_points: Points, curve: Curve, axis: str, max_points: int) -> tuple[Floats, Floats]:
    reduced = envelope(curve, max_points)
    return x_of(Points(reduced, curve_points.steps_per_epoch, curve_points.stretches), axis), reduced.values


def _drawable(values: Floats, log: bool) -> np.typing.NDArray[np.bool_]:
    return np.isfinite(values) & (values > 0) if log else np.isfinite(values)


def _line(
    css: str,
    x: Floats,
    y: Floats,
    faint: bool,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    place: Callable[[Floats], Floats],
    log: bool,
) -> Line:
    good = _drawable(y, log)
    across = _scaled(x[good], *x_range, 0, SIZE)
    up = _scaled(place(y[good]), *y_range, SIZE, 0)
    if len(across) == 1:
        return Line(css, "", faint, (round(float(across[0]) / 10, 1), round(float(up[0]) / 10, 1)))
    return Line(css, _polyline(across, up), faint)


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return about ``about`` round values between ``low`` and ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    spacing = next(step * unit for step in (1, 2, 5, 10) if step * unit >= rough * 0.999)
    return [round(i * spacing, 12) for i in range(math.ceil(low / spacing), math.floor(high / spacing) + 1)]


_CLOCK_SPACINGS = (1, 2, 5, 10, 15, 30, *(60 * n for n in (1, 2, 5, 10, 15, 30)), *(3600 * n for n in (1, 2, 3, 6, 12)))
_DAY = 86400


def clock_ticks(low: float, high: float, about: int) -> list[float]:
    """Return about ``about`` round times between ``low`` and ``high`` (seconds since 1970)."""
    rough = (high - low) / about
    spacing = next((seconds for seconds in _CLOCK_SPACINGS if seconds >= rough), _DAY * math.ceil(rough / _DAY))
    return [float(i * spacing) for i in range(math.ceil(low / spacing), math.floor(high / spacing) + 1)]


def x_label(value: float, axis: str, distance: float = 0.0) -> str:
    """Return a tick label of the x axis; wall-clock time is in UTC because the viewer's time zone is unknown.

    ``distance``: between ticks; steps are as precise as it requires.
    """
    if axis == "clock":
        timestamp = datetime.fromtimestamp(value, UTC)
        return (
            f"{timestamp:%d %b}"
            if value % _DAY == 0
            else f"{timestamp:%H:%M:%S}"
            if value % 60
            else f"{timestamp:%H:%M}"
        )
    if axis == "time":
        return format_duration(value) if value >= 10 else f"{value:g} s"
    unit, suffix = 1.0, ""
    if axis == "step" and abs(value) >= 10_000:
        unit, suffix = next((unit, suffix) for unit, suffix in _SUFFIXES if abs(value) >= unit)
    digits = min(15, max(0, math.ceil(math.log10(unit / distance)))) if distance > 0 else 6
    return f"{round(value / unit, digits):.15g}{suffix}".replace("-", "−")


_SUFFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def y_label(value: float, unit: str) -> str:
    """Return a tick label of the y axis."""
    if unit == "percent":
        return f"{100 * value:.4g}%"
    if value and (abs(value) < 0.001 or unit == "power"):
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.4g}"


def value_label(curve: Curve, unit: str) -> str:
    """Return the last finite value of a curve, formatted for the legend."""
    good = curve.values[np.isfinite(curve.values)]
    if not len(good):
        return "–"
    return f"{100 * good[-1]:.2f}%" if unit == "percent" else format_number(float(good[-1]))


def read_controls(
    x: str = "", smoothing: str = "", log: str = "", default_x: str = "step", default_smoothing: float = 0.6
) -> Controls:
    """Parse the chart controls of an address; invalid values fall back to the defaults."""
    try:
        weight = min(0.99, max(0.0, float(smoothing)))
    except ValueError:
        weight = default_smoothing
    weight = weight if math.isfinite(weight) else default_smoothing
    return Controls(x if x in AXES else default_x, weight, log == "1")

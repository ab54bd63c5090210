"""The launch form's chart of the learning-rate schedule, drawn by the server."""

from __future__ import annotations

from dataclasses import dataclass

from app.charts.svg import SIZE, Tick, ticks, y_label
from app.contract.schedules import curve
from app.contract.spec import RunConfig
from app.web.formatting import format_number

POINTS = 160
NEAR = 0.01
"""A rate this close to the final one, as a share of the peak, is called the final one."""


@dataclass(frozen=True)
class RatePicture:
    """A schedule as SVG coordinates of 0..1000 and ticks in percent: epochs on the x axis, the rate on the y axis.

    ``summary``: its start, peak and end; ``note``: what the chart cannot know beforehand.
    """

    points: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    summary: str
    note: str


def draw_rate(config: RunConfig, steps: int) -> RatePicture:
    """Draw the schedule of ``config`` over ``steps`` optimizer steps (at least 1)."""
    rates = curve(config, steps, POINTS)
    if len(rates) == 1:
        rates = [(0, rates[0][1]), (1, rates[0][1])]
    last = rates[-1][0]
    peak = max(rate for _, rate in rates)
    points = " ".join(f"{SIZE * step / last:.1f},{SIZE * (1 - rate / peak):.1f}" for step, rate in rates)
    return RatePicture(
        points,
        [Tick(f"{100 * at / config.epochs:.2f}%", f"{at:g}") for at in _epochs(config.epochs)],
        [Tick(f"{100 * (1 - value / peak):.2f}%", y_label(value, "power")) for value in ticks(0.0, peak, 3)],
        _summary([rate for _, rate in rates], config),
        _note(config),
    )


def _epochs(epochs: int) -> list[float]:
    return [at for at in ticks(0.0, float(epochs), 5) if at == round(at)]


def _summary(rates: list[float], config: RunConfig) -> str:
    end, highest = rates[-1], max(rates)
    # The last step is a little short of the end of the schedule.
    if config.schedule in ("cosine", "one_cycle") and 0 <= end - config.lr_min < NEAR * highest:
        end = config.lr_min
    # 1e-6, as on the axis
    first, last, peak = (format_number(rate, 3).replace("e-0", "e-") for rate in (rates[0], end, highest))
    if first == last == peak:
        return f"constant {first}"
    if peak in (first, last):
        return f"warms up from {first} to {last}" if peak == last else f"decays from {first} to {last}"
    return f"warms up from {first} to {peak}, then decays to {last}"


def _note(config: RunConfig) -> str:
    if config.schedule != "plateau":
        return ""
    patience = config.plateau_patience
    epochs = "each epoch" if not patience else f"more than {patience} epoch{'s' if patience != 1 else ''}"
    factor = f"{config.plateau_factor:g}"
    return f"The learning rate is multiplied by {factor} after {epochs} without lower validation loss."

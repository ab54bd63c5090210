"""The learning rate of a run before it is trained, as a small picture drawn by the server."""

from __future__ import annotations

from dataclasses import dataclass

from app.charts.drawing import SIZE, Tick, ticks, y_label
from app.contract.schedules import curve
from app.contract.spec import RunConfig
from app.web.formatting import format_number

POINTS = 160


@dataclass(frozen=True)
class RatePicture:
    """A schedule as SVG coordinates of 0..1000 and ticks in percent: epochs across, the rate up.

    ``words`` says where it begins, turns and ends; ``note`` what the picture cannot know.
    """

    points: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    words: str
    note: str


def draw_rate(config: RunConfig, steps: int) -> RatePicture:
    """The schedule of ``config`` over ``steps`` optimizer steps (1 at least)."""
    found = curve(config, steps, POINTS)
    if len(found) == 1:
        found = [(0, found[0][1]), (1, found[0][1])]
    last = found[-1][0]
    peak = max(rate for _, rate in found)
    points = " ".join(f"{SIZE * step / last:.1f},{SIZE * (1 - rate / peak):.1f}" for step, rate in found)
    return RatePicture(
        points,
        [Tick(f"{100 * at / config.epochs:.2f}%", f"{at:g}") for at in _epochs(config.epochs)],
        [Tick(f"{100 * (1 - value / peak):.2f}%", y_label(value, "power")) for value in ticks(0.0, peak, 3)],
        _words([rate for _, rate in found]),
        _note(config),
    )


def _epochs(epochs: int) -> list[float]:
    return [at for at in ticks(0.0, float(epochs), 5) if at == round(at)]


def _words(rates: list[float]) -> str:
    first, last, peak = (format_number(rate, 3) for rate in (rates[0], rates[-1], max(rates)))
    if first == last == peak:
        return f"{first} throughout"
    if peak in (first, last):
        return f"{first} to {last}"
    return f"{first} up to {peak}, then to {last}"


def _note(config: RunConfig) -> str:
    if config.schedule != "plateau":
        return ""
    patience = config.plateau_patience
    many = "each epoch" if not patience else f"more than {patience} epoch{'s' if patience != 1 else ''}"
    return f"It depends on the validation loss: times {config.plateau_factor:g} after {many} without a lower one."

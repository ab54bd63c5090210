"""Looks of trained networks at one picture: how it is changed before, as server and inference process know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Slider:
    """A change of a picture by degrees. ``neutral``: where it changes nothing."""

    name: str
    title: str
    low: float
    high: float
    step: float
    neutral: float
    unit: str = ""

    def values(self, count: int) -> list[float]:
        """``count`` values from one end to the other."""
        return [self.low + (self.high - self.low) * place / (count - 1) for place in range(count)]


SLIDERS: Final = (
    Slider("shift_x", "Shift right", -40.0, 40.0, 1.0, 0.0, "%"),
    Slider("shift_y", "Shift down", -40.0, 40.0, 1.0, 0.0, "%"),
    Slider("rotation", "Rotation", -180.0, 180.0, 1.0, 0.0, "°"),
    Slider("blur", "Blur", 0.0, 4.0, 0.1, 0.0, " px"),
    Slider("noise", "Noise", 0.0, 100.0, 1.0, 0.0, "%"),
    Slider("contrast", "Contrast", 0.0, 300.0, 5.0, 100.0, "%"),
)
SWEPT: Final = 13
"""Places of a slider at which networks are asked to draw how their vote changes along it."""

Swept = Literal["", "shift_x", "shift_y", "rotation", "blur", "noise", "contrast"]
Center = Literal["auto", "on", "off"]
"""Whether a drawing is centered and scaled as the dataset's were; auto: unless it has the dataset's size already."""


class Changes(BaseModel):
    """A change of a fed picture: shift in % of its side, rotation in degrees clockwise, standard deviation of the blur
    in pixels and of the noise in % of the range from black to white, contrast in %; ``seed``: of the noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shift_x: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 0.0
    shift_y: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 0.0
    rotation: Annotated[float, Field(ge=-360, le=360, allow_inf_nan=False)] = 0.0
    blur: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    noise: Annotated[float, Field(ge=0, le=200, allow_inf_nan=False)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 100.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

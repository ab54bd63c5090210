"""The catalog of architectures as plain data, so that the server never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class SizeEntry(BaseModel):
    """One size of a family; ``params``: exact parameter count by dataset, with the dataset's first target as head."""

    model_config = ConfigDict(frozen=True)

    name: str
    definition: str
    params: dict[str, int]


class OptionEntry(BaseModel):
    """A named option of a family, in addition to its sizes.

    ``larger``: the default from each of these image sides on. ``divides_side``: whether the image side must be a
    multiple of the choice.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    default: Any
    choices: list[Any]
    about: str
    larger: list[tuple[int, Any]] = []
    divides_side: bool = False

    def default_at(self, side: int) -> Any:
        """The default for images of this side."""
        return next((value for least, value in reversed(self.larger) if side >= least), self.default)

    def why_not(self, choice: Any, side: int) -> str:
        """Why a choice does not suit images of this side; "" if it does."""
        return f"{side} px is not a multiple of {choice}" if self.divides_side and side % choice else ""


class FamilyEntry(BaseModel):
    """A family of networks and its sizes, smallest first; ``source``: file of a user-defined family, else ""."""

    model_config = ConfigDict(frozen=True)

    name: str
    summary: str
    when: str
    reference: str
    default: str
    sizes: list[SizeEntry]
    options: list[OptionEntry]
    smallest_batch: int
    takes_auxiliary: bool
    source: str = ""

    def size(self, name: str) -> SizeEntry | None:
        """The size named ``name``, or None."""
        return next((size for size in self.sizes if size.name == name), None)


class Catalog(BaseModel):
    """Every family that was imported, and the error of each file that could not be imported."""

    model_config = ConfigDict(frozen=True)

    families: dict[str, FamilyEntry]
    broken: dict[str, str] = {}

    def params_of(self, preset: Mapping[str, Any]) -> int | None:
        """The parameter count of a preset; None if it changes the heads or an option of the family."""
        family = self.families.get(preset["family"])
        size = family.size(preset["size"]) if family else None
        if size is None or {"targets", "options", "auxiliary"} & set(preset):
            return None
        return size.params.get(preset["dataset"])

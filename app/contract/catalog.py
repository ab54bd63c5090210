"""What can be trained, as plain data: the server knows architectures only through this, and never imports torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class SizeEntry(BaseModel):
    """One size of a family; ``params`` gives the exact parameter count by dataset, with its first target as head."""

    model_config = ConfigDict(frozen=True)

    name: str
    definition: str
    params: dict[str, int]


class OptionEntry(BaseModel):
    """A named choice that a family offers beyond its sizes."""

    model_config = ConfigDict(frozen=True)

    name: str
    default: Any
    choices: list[Any]
    about: str


class FamilyEntry(BaseModel):
    """One family of networks with its sizes, smallest first; ``source`` is the file of one from outside, else ""."""

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
        """The size called ``name``, or None."""
        return next((size for size in self.sizes if size.name == name), None)


class Catalog(BaseModel):
    """Every family that could be imported, and the error of each file that could not."""

    model_config = ConfigDict(frozen=True)

    families: dict[str, FamilyEntry]
    broken: dict[str, str] = {}

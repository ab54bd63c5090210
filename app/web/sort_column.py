"""A column of a table that is sorted through its address: a key, with a minus before it the other way round."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column, and the sort that a click on its head asks for; ``first`` is "-" where the first sorts downwards."""

    key: str
    title: str
    css: str = ""
    first: str = ""

    def toggled(self, sort: str) -> str:
        """The sort after a click: the other way round where it is already sorted by this column."""
        if sort.lstrip("-") != self.key:
            return self.first + self.key
        return self.key if sort.startswith("-") else f"-{self.key}"

    def order(self, sort: str) -> str:
        """For ``aria-sort``."""
        if sort.lstrip("-") != self.key:
            return "none"
        return "descending" if sort.startswith("-") else "ascending"

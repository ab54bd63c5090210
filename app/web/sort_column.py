"""Table columns that are sorted through the URL: a key, with a leading minus for descending order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A sortable column; ``first`` is "-" if the first click on its header sorts in descending order."""

    key: str
    title: str
    css: str = ""
    first: str = ""

    def toggled(self, sort: str) -> str:
        """Return the sort after a click on the header: reversed if already sorted by this column."""
        if sort.lstrip("-") != self.key:
            return self.first + self.key
        return self.key if sort.startswith("-") else f"-{self.key}"

    def order(self, sort: str) -> str:
        """Return the value of ``aria-sort``."""
        if sort.lstrip("-") != self.key:
            return "none"
        return "descending" if sort.startswith("-") else "ascending"

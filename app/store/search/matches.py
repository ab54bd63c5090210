"""The matches of a text search, found once: they are counted, and a page of them is read in any order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, CursorResult, bindparam, text

from app.store.page_cursor import Cursor
from app.store.search.pagination import Place, TooSparse
from app.store.search.sorting import Order, Source, Values

NUMBER = "run.number"


@dataclass(frozen=True)
class Matches:
    """The numbers of matching runs, as a JSON list and as a set; ``elements``: SQL that selects those of the list."""

    listed: str
    numbers: frozenset[int]
    elements: str

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def conditions(self, order: Order, limit: int, after: Cursor | None) -> tuple[str, dict[str, Any]]:
        """The SQL conditions for them; in an order by number, for the ``limit`` runs after ``after``."""
        listed = self.listed
        if order.value == NUMBER:
            each = sorted(self.numbers, reverse=order.descending)
            if after is not None:
                each = [one for one in each if (one < after.number) == order.descending and one != after.number]
            listed = json.dumps(each[:limit])
        return f"{NUMBER} IN ({self.elements})", {"found": listed}

    def along_index(
        self, connection: Connection, order: Order, limit: int, after: Cursor | None, steps: int
    ) -> list[Place]:
        """The first ``limit`` of them after ``after`` that have a value, read along the order's index.

        Raises TooSparse if there are fewer, or too few among the next ``steps`` runs.
        """
        if after is not None and after.value is None:
            raise TooSparse
        found: list[tuple[Any, int]] = []
        for source in order.sources:
            found += _Walk(connection, self.numbers, order, source, limit, steps).after(after)
        if len(order.sources) > 1:
            found.sort(key=lambda each: -each[1])
            found.sort(key=lambda each: each[0], reverse=order.descending)
        if len(found) < limit:
            raise TooSparse
        numbers = [number for _, number in found[:limit]]
        ids = {number: str(run) for number, run in connection.execute(_IDS, {"numbers": numbers})}
        return [Place(ids[number], number, value) for value, number in found[:limit]]


_IDS = text("SELECT number, id FROM run WHERE number IN :numbers").bindparams(bindparam("numbers", expanding=True))


@dataclass(frozen=True)
class _Walk:
    """Reads values and numbers from one index. Which of them match is known here; SQL would look up each run."""

    connection: Connection
    numbers: frozenset[int]
    order: Order
    source: Source
    limit: int
    steps: int

    def after(self, after: Cursor | None) -> list[tuple[Any, int]]:
        """Up to ``limit`` matches in order, each with its value."""
        if after is None:
            return self._values(f"{self.source.value} IS NOT NULL", {})
        beyond = f"{self.source.value} {self.order.beyond} :last"
        ties = self._ties(after.value, f" AND {self.source.number} < :last_number", {"last_number": after.number})
        return ties + self._values(beyond, {"last": after.value})

    def _values(self, condition: str, values: Values) -> list[tuple[Any, int]]:
        value = self.source.value
        order = f"ORDER BY {value} {self.order.direction}"
        found: list[tuple[Any, int]] = []
        seen = 0
        with self._read(f"{value}, {self.source.number}", condition, order, values) as rows:
            for row in rows:
                seen += 1
                if row[1] in self.numbers:
                    found.append((row[0], row[1]))
                    if len(found) == self.limit:
                        break
        if len(found) == self.limit:
            # Thousands of runs may share the last value; only the newest of them are read.
            last = found[-1][0]
            return _newest_first([one for one in found if one[0] != last]) + self._ties(last)
        if seen == self.steps:
            raise TooSparse
        return _newest_first(found)

    def _ties(self, value: Any, condition: str = "", values: Values | None = None) -> list[tuple[Any, int]]:
        number = self.source.number
        condition = f"{self.source.value} = :tied{condition}"
        found: list[tuple[Any, int]] = []
        seen = 0
        with self._read(number, condition, f"ORDER BY {number} DESC", (values or {}) | {"tied": value}) as rows:
            for each in rows.scalars():
                seen += 1
                if each in self.numbers:
                    found.append((value, each))
                    if len(found) == self.limit:
                        return found
        if seen == self.steps:
            raise TooSparse
        return found

    def _read(self, columns: str, condition: str, order: str, values: Values) -> CursorResult[*tuple[Any, ...]]:
        tables, scope = self.source.narrow or (self.source.tables, self.source.scope)
        statement = f"SELECT {columns} FROM {tables} WHERE {scope} AND {condition} {order} LIMIT :steps"
        values = values | self.order.values | {"steps": self.steps}
        return self.connection.execute(text(statement), values)


def _newest_first(found: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Order those with the same value; values are in order already."""
    return [one for _, same in groupby(found, lambda each: each[0]) for one in sorted(same, key=lambda each: -each[1])]

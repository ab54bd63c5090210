"""Parser for run queries: ``family:vit (tag:paper or val/acc>0.98) -status:failed "late fusion"``.

Adjacent terms must all match, ``or`` separates alternatives, parentheses group, and ``-`` negates the term or group
that follows. `app.store.search.query_language` turns the parsed terms into SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.contract.errors import QueryError

MAX_TERMS = 30

_TERM = re.compile(
    r"""(?P<negated>-?)(?:(?P<name>[A-Za-z_][\w./]*)(?P<operator>>=|<=|!=|[:=<>]))?(?P<value>(?:"[^"]*"|[^\s"()])*)"""
)
# A comma outside of quotes.
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_OPEN = re.compile(r"-?\(")


@dataclass(frozen=True)
class Term:
    """One term of a query: ``name`` and ``operator`` are "" for plain text, ``values`` is the value split at commas."""

    negated: bool
    name: str
    operator: str
    value: str
    values: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class AnyOf:
    """A group of alternatives, one of which must match; each alternative is a list of parts that must all match."""

    negated: bool
    choices: tuple[tuple[Part, ...], ...]
    source: str


Part = Term | AnyOf


def parse(text: str) -> AnyOf:
    """Parse a query. Raises QueryError for an unclosed quote or parenthesis, or too many terms."""
    if text.count('"') % 2:
        raise QueryError("q", 'missing closing quote (")')
    return _Reader(text).whole()


class _Reader:
    def __init__(self, text: str) -> None:
        self.source = text
        self.at = 0
        self.terms = 0
        self.brackets = 0

    def whole(self) -> AnyOf:
        choices = self._choices()
        if self.at < len(self.source):
            raise QueryError("q", "unmatched closing parenthesis; to search for ')', put it in quotes")
        return AnyOf(False, choices, self.source)

    def _choices(self) -> tuple[tuple[Part, ...], ...]:
        """Parse alternatives up to the end of the query or the closing parenthesis."""
        choices: list[list[Part]] = [[]]
        while self._more():
            part = self._part()
            if isinstance(part, Term) and part.source.lower() == "or":
                choices.append([])
            elif part is not None:
                choices[-1].append(part)
        if len(choices) > 1 and not all(choices):
            raise QueryError("q", "'or' needs a term on each side; to search for the word, put it in quotes")
        return tuple(tuple(parts) for parts in choices)

    def _more(self) -> bool:
        while self.at < len(self.source) and self.source[self.at].isspace():
            self.at += 1
        return self.at < len(self.source) and self.source[self.at] != ")"

    def _part(self) -> Part | None:
        """Parse one term or group; None for an empty term, such as a pair of quotes."""
        start = self.at
        if opening := _OPEN.match(self.source, start):
            return self._bracket(start, opening)
        match = _TERM.match(self.source, start)
        if match is None or match.end() == start:
            raise QueryError("q", f"cannot parse '{self.source[start : start + 20]}'")
        self.at = match.end()
        value = match["value"].replace('"', "")
        values = tuple(part.replace('"', "") for part in _COMMA.split(match["value"]))
        name, operator = match["name"] or "", match["operator"] or ""
        if not name and not value:
            return None
        term = Term(bool(match["negated"]), name, operator, value, values, match[0])
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise QueryError("q", f"too many terms (limit: {MAX_TERMS})")
        return term

    def _bracket(self, start: int, opening: re.Match[str]) -> AnyOf:
        self.brackets += 1
        if self.brackets > MAX_TERMS:
            raise QueryError("q", f"too many parentheses (limit: {MAX_TERMS})")
        self.at = opening.end()
        choices = self._choices()
        if self.at == len(self.source):
            raise QueryError("q", "missing closing parenthesis; to search for '(', put it in quotes")
        self.at += 1
        if not choices[0]:
            raise QueryError("q", "empty parentheses ()")
        return AnyOf(opening[0].startswith("-"), choices, self.source[start : self.at])

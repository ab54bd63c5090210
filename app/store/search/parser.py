"""How a question about runs is read: ``family:vit (tag:paper or val/acc>0.98) -status:failed "late fusion"``.

Parts stand beside each other and must all hold; of parts with ``or`` between them one must; brackets say what belongs
together, and ``-`` before a part means that it must not hold. What a term means says `app.store.search.query_language`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.contract.errors import QueryError

MOST_TERMS = 30

_TERM = re.compile(
    r"""(?P<no>-?)(?:(?P<name>[A-Za-z_][\w./]*)(?P<how>>=|<=|!=|[:=<>]))?(?P<value>(?:"[^"]*"|[^\s"()])*)"""
)
# One that stands outside of quotes.
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_OPEN = re.compile(r"-?\(")


@dataclass(frozen=True)
class Term:
    """A term as it was said: ``name`` and ``how`` are "" of a mere text, ``values`` what its commas divide."""

    no: bool
    name: str
    how: str
    value: str
    values: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class Either:
    """Choices, of which one must hold, and of that all parts."""

    no: bool
    choices: tuple[tuple[Part, ...], ...]
    said: str


Part = Term | Either


def read(said: str) -> Either:
    """A question in its parts. Raises QueryError where a quote or a bracket does not end, or it is too long."""
    if said.count('"') % 2:
        raise QueryError("q", 'a quote " is not closed')
    return _Reader(said).whole()


class _Reader:
    def __init__(self, said: str) -> None:
        self.said = said
        self.at = 0
        self.terms = 0
        self.brackets = 0

    def whole(self) -> Either:
        found = self._choices()
        if self.at < len(self.said):
            raise QueryError("q", "a bracket ) closes none; one that is looked for stands in quotes")
        return Either(False, found, self.said)

    def _choices(self) -> tuple[tuple[Part, ...], ...]:
        """Up to the end, or to the bracket that ends these."""
        found: list[list[Part]] = [[]]
        while self._more():
            part = self._part()
            if isinstance(part, Term) and part.said.lower() == "or":
                found.append([])
            elif part is not None:
                found[-1].append(part)
        if len(found) > 1 and not all(found):
            raise QueryError("q", 'or stands between two terms; as a word that is looked for it is "or", in quotes')
        return tuple(tuple(each) for each in found)

    def _more(self) -> bool:
        while self.at < len(self.said) and self.said[self.at].isspace():
            self.at += 1
        return self.at < len(self.said) and self.said[self.at] != ")"

    def _part(self) -> Part | None:
        """None of what says nothing, such as a pair of quotes."""
        begun = self.at
        if opened := _OPEN.match(self.said, begun):
            return self._bracket(begun, opened)
        match = _TERM.match(self.said, begun)
        if match is None or match.end() == begun:
            raise QueryError("q", f"cannot read '{self.said[begun : begun + 20]}'")
        self.at = match.end()
        value = match["value"].replace('"', "")
        values = tuple(each.replace('"', "") for each in _COMMA.split(match["value"]))
        name, how = match["name"] or "", match["how"] or ""
        if not name and not value:
            return None
        term = Term(bool(match["no"]), name, how, value, values, match[0])
        self.terms += 1
        if self.terms > MOST_TERMS:
            raise QueryError("q", f"more than the {MOST_TERMS} terms that can be looked for at once")
        return term

    def _bracket(self, begun: int, opened: re.Match[str]) -> Either:
        self.brackets += 1
        if self.brackets > MOST_TERMS:
            raise QueryError("q", f"more than {MOST_TERMS} brackets")
        self.at = opened.end()
        choices = self._choices()
        if self.at == len(self.said):
            raise QueryError("q", "a bracket ( is not closed; one that is looked for stands in quotes")
        self.at += 1
        if not choices[0]:
            raise QueryError("q", "nothing stands in the brackets ()")
        return Either(opened[0].startswith("-"), choices, self.said[begun : self.at])

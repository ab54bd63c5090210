"""Arguments of a command with `{name}` where a value goes: which names they have, and how they are filled.

A value never becomes more than the one argument it stands in: arguments are a list before and after, and no shell reads
them. `{{` and `}}` stand for braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

Value: TypeAlias = str | int | float | bool

NAME: Final = r"[A-Za-z_][A-Za-z0-9_.-]*"

_PIECE: Final = re.compile(rf"(?P<brace>\{{\{{|\}}\}})|\{{(?P<name>{NAME})\}}|(?P<text>[^{{}}]+)|(?P<wrong>[{{}}])")
_LONGEST_SHOWN: Final = 60


class Part(NamedTuple):
    """A part of an argument: literal text, or the name of a value if ``is_name``."""

    text: str
    is_name: bool


def parts(argument: str) -> list[Part]:
    """The parts of an argument, from left to right. Raises ValueError for a brace that encloses no name."""
    found: list[Part] = []
    for piece in _PIECE.finditer(argument):
        if piece["wrong"]:
            shown = argument if len(argument) <= _LONGEST_SHOWN else f"{argument[: _LONGEST_SHOWN - 1]}…"
            raise ValueError(
                f"'{piece['wrong']}' in the argument '{shown}' encloses no name; write {{name}} for a value,"
                " or {{ and }} for braces"
            )
        if piece["name"]:
            found.append(Part(piece["name"], True))
        else:
            found.append(Part(piece["brace"][0] if piece["brace"] else piece["text"], False))
    return found


def names(arguments: Sequence[str]) -> set[str]:
    """The names that the arguments have. Raises ValueError for a brace that encloses no name."""
    return {part.text for argument in arguments for part in parts(argument) if part.is_name}


def fill(arguments: Sequence[str], values: Mapping[str, Value]) -> list[str]:
    """The arguments with each `{name}` replaced by its value: as many as before, in the same order.

    Values that no argument names are ignored. Raises ValueError for a name without a value.
    """
    return ["".join(_text(part, values) for part in parts(argument)) for argument in arguments]


def value_text(value: Value) -> str:
    """A value as an argument: `true` and `false`, numbers as Python writes them, and text as it is."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(part: Part, values: Mapping[str, Value]) -> str:
    if not part.is_name:
        return part.text
    if part.text not in values:
        known = ", ".join(sorted(values)) or "none"
        raise ValueError(f"no value for '{part.text}'; there are values for: {known}")
    return value_text(values[part.text])

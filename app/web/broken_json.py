"""Where a body stops being valid JSON, and in which of its fields."""

from __future__ import annotations

import re
from typing import Final

from app.contract.spec import FieldError

MAX_SEARCHED: Final = 10_000
"""Characters before the fault in which its field is looked for."""

_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|[\[\]{},]')


def describe(body: str, position: int, expected: str) -> FieldError:
    """The error of a body that breaks at a position, with what the parser says it expected."""
    field = _field_at(body, position) if position <= MAX_SEARCHED else ""
    reason = f"at character {position + 1:,}{' of the body' if field else ''}: {expected[:1].lower()}{expected[1:]}"
    return FieldError(field or "body", f"{field or 'the body'} is not valid JSON {reason}")


def _field_at(body: str, position: int) -> str:
    """The field of the outermost object whose value includes a position; empty outside of one."""
    depth, field = 0, ""
    for token in _TOKEN.finditer(body, 0, position):
        match token[0]:
            case "{" | "[":
                depth += 1
            case "}" | "]":
                depth -= 1
            case ",":
                field = field if depth > 1 else ""
            case _ if depth == 1 and token[2]:
                field = token[1][:60]
    return field if depth > 0 else ""

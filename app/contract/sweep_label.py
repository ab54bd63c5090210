"""What a sweep chose, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.contract.sweep import OPTION


def describe_values(values: Mapping[str, Any]) -> str:
    """Values in words: vit, tiny, lr 0.001."""
    bare = ("family", "size", "dataset")
    words = [_word(v) if n in bare else f"{_named(n)} {_word(v)}" for n, v in values.items()]
    return ", ".join(words) or "as it is"


def _named(name: str) -> str:
    return name.removeprefix(OPTION).replace("_", " ")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "+".join(str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]

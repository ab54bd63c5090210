"""Text labels of the values that a sweep chose for a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.contract.sweep import OPTION


def describe_values(values: Mapping[str, Any]) -> str:
    """Describe values as text: "vit, tiny, lr 0.001"."""
    bare = ("family", "size", "dataset")
    parts = [_text(v) if n in bare else f"{_label(n)} {_text(v)}" for n, v in values.items()]
    return ", ".join(parts) or "base configuration"


def _label(name: str) -> str:
    return name.removeprefix(OPTION).replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]

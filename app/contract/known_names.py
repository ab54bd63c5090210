"""What an error says about the names that exist, after one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

MOST_LISTED = 16
COMMANDS = {"preset": "runyard presets", "dataset": "runyard datasets", "family": "runyard architectures"}
"""Commands that list the names of a kind; what has none is listed in the error."""


def known_names(given: str, existing: Sequence[str], noun: str, plural: str) -> str:
    """Return the existing names; of many, only the one closest to ``given``, and the command that lists all."""
    if noun not in COMMANDS or len(existing) <= MOST_LISTED:
        return f"{plural}: {', '.join(existing) or 'none'}"
    close = get_close_matches(given.lower(), existing, 1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    return f"{suggestion}`{COMMANDS[noun]}` lists all {len(existing)} {plural}"

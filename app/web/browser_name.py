"""Short names of browsers, for lists of sessions."""

from __future__ import annotations

import re
from typing import Final

_BROWSERS: Final = (
    ("Edge", r"\bEdg(?:A|iOS)?/"),
    ("Opera", r"\bOPR/"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/"),
    ("Chrome", r"Chrome/|\bCriOS/"),
    ("Safari", r"\bSafari/"),
)
"""Most browsers also name those further down."""
_SYSTEMS: Final = (
    ("iOS", r"\b(?:iPhone|iPad)\b"),
    ("Android", r"\bAndroid\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMac OS X\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Linux", r"\bLinux\b"),
)


def browser_name(agent: str) -> str:
    """Shorten a User-Agent header: "Chrome on Linux". What is no known browser stays as it is."""
    browser = next((name for name, pattern in _BROWSERS if re.search(pattern, agent)), None)
    if browser is None or not agent.startswith("Mozilla/"):
        return agent
    system = next((name for name, pattern in _SYSTEMS if re.search(pattern, agent)), None)
    return f"{browser} on {system}" if system else browser

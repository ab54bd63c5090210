"""Names of browsers in the list of sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.browser_name import browser_name

KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"{KIT} Chrome/141.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME}", "Chrome on Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {KIT} HeadlessChrome/141.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {CHROME}", "Chrome on Android"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME}", "Chrome on ChromeOS"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Edg/141.0.0.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} OPR/122.0.0.0", "Opera on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox on macOS"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {KIT} Version/18.6 Safari/604.1", "Safari on iOS"),
        ("Mozilla/5.0 (Unknown) Firefox/1.0", "Firefox"),
        ("Mozilla/5.0 (compatible)", "Mozilla/5.0 (compatible)"),
        ("runyard on laptop", "runyard on laptop"),
        ("Chrome/1", "Chrome/1"),
        ("", ""),
    ],
)
def test_a_browser_is_named_with_its_system_and_everything_else_as_it_names_itself(agent: str, name: str) -> None:
    assert browser_name(agent) == name


@given(st.text())
def test_what_does_not_pose_as_a_browser_is_not_changed(agent: str) -> None:
    assert browser_name(agent) == agent or agent.startswith("Mozilla/")

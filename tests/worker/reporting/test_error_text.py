"""Reasons as parts of a sentence."""

from __future__ import annotations

import ssl
import urllib.error

import pytest

from worker.reporting.error_text import reason


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (urllib.error.URLError("no host\ngiven"), "no host given"),
        (
            urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed")),
            "certificate verify failed",
        ),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_reason_is_one_line_without_a_number(error: BaseException, words: str) -> None:
    assert words in reason(error)
    assert "Errno" not in reason(error)
    assert "\n" not in reason(error)

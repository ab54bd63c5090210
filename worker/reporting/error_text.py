"""Turns an exception into a short reason that fits in a sentence."""

import ssl
import urllib.error


def reason(error: BaseException) -> str:
    """The reason in a few words, on one line and without an error number."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}".strip()
    if isinstance(error, urllib.error.URLError):
        return reason(error.reason if isinstance(error.reason, BaseException) else Exception(error.reason))
    # The strerror and the text of an SSLError contain OpenSSL's source file and line.
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        text = error.strerror or text
    return " ".join(text.split()) or type(error).__name__

"""Why something failed, in words that can stand in a sentence."""

import ssl
import urllib.error


def reason(error: BaseException) -> str:
    """Why, in a few words on one line and without an error number."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}".strip()
    if isinstance(error, urllib.error.URLError):
        return reason(error.reason if isinstance(error.reason, BaseException) else Exception(error.reason))
    # An SSLError's strerror is all of it, file and line of OpenSSL's source included, as is its text.
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        text = error.strerror or text
    return " ".join(text.split()) or type(error).__name__

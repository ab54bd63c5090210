"""Redirects after a form, with the result in the query string so that the page shows it without JavaScript."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi.responses import RedirectResponse

from app.web.rendering import local_path

RESULT_PARAMETERS = ("stopped", "kept", "undo", "back_again", "act", "undone", "refused", "edit", "removed")


def go_back(path: str, fallback: str, **results: Any) -> RedirectResponse:
    """Redirect to ``path``, or to ``fallback`` if that is not on this server; replaces results of earlier forms."""
    address = urlsplit(local_path(path, fallback))
    query = [(name, value) for name, value in parse_qsl(address.query) if name not in RESULT_PARAMETERS]
    query += [(name, str(value)) for name, value in results.items() if value]
    return RedirectResponse(f"{address.path}?{urlencode(query)}" if query else address.path, 303)

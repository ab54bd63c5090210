"""Where a form leads back to, with what it has done said in the address, so that it is seen without a script."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi.responses import RedirectResponse

from app.web.rendering import local_path

SAID = ("stopped", "kept", "undo", "back_again", "act", "undone", "refused", "edit")


def go_back(path: str, otherwise: str, **said: Any) -> RedirectResponse:
    """To ``path``, or ``otherwise`` where that is none of this server's; what was said there before is left out."""
    address = urlsplit(local_path(path, otherwise))
    query = [(name, value) for name, value in parse_qsl(address.query) if name not in SAID]
    query += [(name, str(value)) for name, value in said.items() if value]
    return RedirectResponse(f"{address.path}?{urlencode(query)}" if query else address.path, 303)

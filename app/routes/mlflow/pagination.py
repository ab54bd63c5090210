"""Pages of the protocol: a token says how many came before."""

from __future__ import annotations

from typing import Any

from app.contract.errors import Invalid
from app.routes.mlflow.protocol import Arguments


def offset_of(args: Arguments) -> int:
    """How many were told already."""
    token = args.text("page_token", "", most=40)
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) < 16):
        raise Invalid("page_token is none that was given out here")
    return int(token)


def next_token(offset: int, most: int, found: int) -> dict[str, Any]:
    """The token of the next page, where there is one: more were found than a page holds."""
    return {"next_page_token": str(offset + most)} if found > most else {}

"""Pagination of the MLflow protocol: a page token is the number of earlier entries."""

from __future__ import annotations

from typing import Any

from app.contract.errors import Invalid
from app.routes.mlflow.protocol import Arguments


def offset_of(args: Arguments) -> int:
    """Return the number of entries on earlier pages."""
    token = args.text("page_token", "", most=40)
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) < 16):
        raise Invalid("page_token is invalid; use the next_page_token of the previous response")
    return int(token)


def next_token(offset: int, most: int, available: int) -> dict[str, Any]:
    """Return the token of the next page, if more entries are available than fit on this page."""
    return {"next_page_token": str(offset + most)} if available > most else {}

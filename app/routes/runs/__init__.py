"""/runs: launch, list, watch, stop and delete runs; the API, the table of all runs, and the page of one."""

from fastapi import APIRouter

from app.routes.runs import acts, again, changes, many, page, table, words
from app.routes.runs.api import api

__all__ = ["api", "pages"]

# One flat list, as it would be in one file: who walks the routes of a noun finds each of them.
api.routes.extend([*many.api.routes, *again.api.routes, *changes.api.routes])
pages = APIRouter()
pages.include_router(words.pages)
pages.include_router(table.pages)
pages.include_router(acts.pages)
pages.include_router(page.pages)
pages.include_router(again.pages)
pages.include_router(changes.pages)

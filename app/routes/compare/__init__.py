"""/compare: runs and groups of runs side by side; the page, the API, and the seeds that would decide."""

from fastapi import APIRouter

from app.routes.compare import page, report, seeds
from app.routes.compare.api import api
from app.web.run_selection import MOST_RUNS

__all__ = ["MOST_RUNS", "api", "pages"]

pages = APIRouter()
pages.include_router(page.pages)
pages.include_router(seeds.pages)
pages.include_router(report.pages)

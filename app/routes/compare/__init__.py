"""/compare: API and pages that compare runs and groups of runs, and launch more seeds of them."""

from fastapi import APIRouter

from app.routes.compare import page, report, seeds
from app.routes.compare.api import api
from app.web.run_selection import MOST_RUNS

__all__ = ["MOST_RUNS", "api", "pages"]

pages = APIRouter()
pages.include_router(page.pages)
pages.include_router(seeds.pages)
pages.include_router(report.pages)

"""/runs: API and pages to launch, list, watch, change, stop and delete runs."""

from fastapi import APIRouter

from app.routes.runs import (
    bulk,
    bulk_forms,
    card,
    completion,
    disk,
    exports,
    files,
    files_page,
    histograms_page,
    jobs,
    live_changes,
    page,
    predict,
    rerun,
    robustness,
    step_records,
    table,
    texts_page,
)
from app.routes.runs.api import api

__all__ = ["api", "pages"]

# One flat list, so that code that walks the routes of this package finds each of them.
for module in (bulk, rerun, live_changes, predict, jobs, exports, card, disk, files, step_records):
    api.routes.extend(module.api.routes)
pages = APIRouter()
pages.include_router(completion.pages)
pages.include_router(table.pages)
pages.include_router(bulk_forms.pages)
pages.include_router(page.pages)
pages.include_router(robustness.pages)
pages.include_router(rerun.pages)
pages.include_router(live_changes.pages)
pages.include_router(exports.pages)
pages.include_router(card.pages)
pages.include_router(files_page.pages)
pages.include_router(histograms_page.pages)
pages.include_router(texts_page.pages)

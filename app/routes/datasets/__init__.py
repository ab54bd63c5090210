"""/datasets and /api/v1/datasets: the datasets that come with Runyard, the user's own, and their imports."""

from fastapi import APIRouter

from app.routes.datasets.api import api as api
from app.routes.datasets.import_page import pages as _import_pages
from app.routes.datasets.page import pages as _pages

pages = APIRouter()
# First, so that "imports" is not taken for the name of a dataset.
pages.include_router(_import_pages)
pages.include_router(_pages)

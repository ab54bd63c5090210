"""/runs/{id}/predictions: what a run predicted for the images of a split, and the images themselves."""

from fastapi import APIRouter

from app.routes.predictions import api as _api
from app.routes.predictions import page, pictures

__all__ = ["api", "pages"]

api = _api.api
pages = APIRouter()
pages.include_router(page.pages)
pages.include_router(pictures.pages)

"""/architectures: what can be trained; the API, the page that people read, and launching all of a family or dataset."""

from fastapi import APIRouter

from app.routes.architectures import launch, page
from app.routes.architectures.api import api

__all__ = ["api", "pages"]

pages = APIRouter()
pages.include_router(launch.pages)
pages.include_router(page.pages)

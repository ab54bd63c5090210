"""/architectures: the available networks: API, page, and launching all sizes of a family."""

from fastapi import APIRouter

from app.routes.architectures import launch, page
from app.routes.architectures.api import api

__all__ = ["api", "pages"]

pages = APIRouter()
pages.include_router(launch.pages)
pages.include_router(page.pages)

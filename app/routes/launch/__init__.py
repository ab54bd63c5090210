"""/launch: the launch form, its plan (steps, cost, start, augmented images) and the equivalent commands."""

from fastapi import APIRouter

from app.routes.launch import augmented, page

__all__ = ["pages"]

pages = APIRouter()
pages.include_router(page.pages)
pages.include_router(augmented.pages)

"""/sign-in, /welcome, /account and /admin, and the API for people, tokens, machines, the audit log and the system."""

from fastapi import APIRouter

from app.routes.people import (
    account_page,
    admin_page,
    admin_sections,
    api_audit,
    api_people,
    api_retention,
    api_system,
    api_worker_tokens,
    sign_in_page,
)
from app.routes.people.api_account import api

__all__ = ["api", "pages"]

# One flat list, so that code that walks the routes of this package finds each of them.
for part in (api_people, api_audit, api_system, api_retention, api_worker_tokens):
    api.routes.extend(part.api.routes)
pages = APIRouter()
for module in (sign_in_page, account_page, admin_page, admin_sections):
    pages.include_router(module.pages)

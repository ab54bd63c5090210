"""/sign-in, /welcome, /account and /admin, and the API for people, sessions, tokens, machines and the audit log."""

from fastapi import APIRouter

from app.routes.people import account_page, admin_page, api_audit, api_people, api_worker_tokens, sign_in_page
from app.routes.people.api_account import api

__all__ = ["api", "pages"]

# One flat list, so that code that walks the routes of this package finds each of them.
api.routes.extend([*api_people.api.routes, *api_audit.api.routes, *api_worker_tokens.api.routes])
pages = APIRouter()
for module in (sign_in_page, account_page, admin_page):
    pages.include_router(module.pages)

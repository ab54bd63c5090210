"""/notifications: the page of webhooks, rules and past notifications; it works without JavaScript."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.actions.notifications import (
    RuleSpec,
    WebhookSpec,
    add_rule,
    add_webhook,
    read_notifications,
    remove_rule,
    remove_webhook,
    secret_of,
    test_webhook,
)
from app.contract.errors import RunyardError, to_field_errors
from app.contract.spec import FieldError
from app.web.dependencies import Parts, PartsDep
from app.web.formatting import upper_first

pages = APIRouter()

KINDS = (
    ("succeeded", "a run succeeds"),
    ("failed", "a run fails"),
    ("cancelled", "a run is cancelled"),
    ("rule", "a run matches a rule"),
    ("disk", "a disk fills up or has room again"),
)
HERE = "/notifications"


@pages.get("/notifications")
def notifications_page(request: Request, parts: PartsDep, run: str = "") -> HTMLResponse:
    """Show the page; ?run=ID fills in the rule form for that run."""
    return _page(request, parts, {"run": run})


@pages.get("/notifications/list")
def notifications_list(request: Request, parts: PartsDep) -> HTMLResponse:
    """Return the list of past notifications, for periodic refreshes."""
    return parts.templates.fragment(request, "_notifications_list.html", **read_notifications(parts))


@pages.post("/notifications/webhooks")
async def post_webhook(request: Request, parts: PartsDep) -> Response:
    """Add a webhook, or show the page again with the errors."""
    async with request.form(max_files=0, max_fields=20) as form:
        values: dict[str, Any] = {
            "url": str(form.get("url", "")),
            "kinds": [str(each) for each in form.getlist("kinds")],
        }
    return await run_in_threadpool(_add, request, parts, "webhook", values, values)


@pages.post("/notifications/rules")
async def post_rule(request: Request, parts: PartsDep) -> Response:
    """Add a rule, or show the page again with the errors."""
    async with request.form(max_files=0, max_fields=20) as form:
        typed = {name: str(form.get(name, "")).strip() for name in ("comparison", "metric", "value", "run")}
    values: dict[str, Any] = {name: value for name, value in typed.items() if value}
    if values.get("comparison") == "silent":
        values.pop("metric", None)
    return await run_in_threadpool(_add, request, parts, "rule", values, typed)


def _add(request: Request, parts: Parts, what: str, values: dict[str, Any], typed: dict[str, Any]) -> Response:
    errors: list[FieldError] = []
    secret = ""
    try:
        if what == "webhook":
            secret = secret_of(parts, add_webhook(parts, WebhookSpec.model_validate(values)))
        else:
            add_rule(parts, RuleSpec.model_validate(values))
    except ValidationError as error:
        errors = to_field_errors(error.errors(include_url=False))
    except RunyardError as error:
        errors = error.errors or [FieldError(what, error.message)]
    if secret:
        # Shown once, so it must not be in an address.
        answer = _page(request, parts, {"run": ""}, status=201, secret=secret)
        answer.headers["cache-control"] = "no-store"
        return answer
    if not errors:
        return RedirectResponse(HERE, 303)
    wrong = {error.field: _sentence(error.message) for error in reversed(errors)}
    return _page(request, parts, typed, what, wrong, 422)


def _sentence(message: str) -> str:
    plain = message.replace("value error, ", "").partition(": ")[2] if "value error" in message else message
    return f"{upper_first(plain)}."


@pages.post("/notifications/webhooks/{webhook_id}/delete")
def post_delete_webhook(webhook_id: str, parts: PartsDep) -> Response:
    """Remove a webhook."""
    remove_webhook(parts, webhook_id)
    return RedirectResponse(HERE, 303)


@pages.post("/notifications/webhooks/{webhook_id}/test")
def post_test_webhook(webhook_id: str, parts: PartsDep) -> Response:
    """Send a test notice to a webhook."""
    test_webhook(parts, webhook_id)
    return RedirectResponse(HERE, 303)


@pages.post("/notifications/rules/{rule_id}/delete")
def post_delete_rule(rule_id: str, parts: PartsDep) -> Response:
    """Remove a rule."""
    remove_rule(parts, rule_id)
    return RedirectResponse(HERE, 303)


def _page(
    request: Request,
    parts: Parts,
    typed: dict[str, Any],
    form: str = "",
    wrong: dict[str, str] | None = None,
    status: int = 200,
    secret: str = "",
) -> HTMLResponse:
    values = read_notifications(parts) | {"kinds": KINDS, "typed": typed, "form": form, "wrong": wrong or {}}
    values["secret"] = secret
    return parts.templates.page(request, "notifications.html", status, **values)

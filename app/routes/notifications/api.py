"""/api/v1/webhooks, /api/v1/rules and /api/v1/notices: notifications for scripts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.actions.notifications import (
    RuleSpec,
    WebhookSpec,
    add_rule,
    add_webhook,
    remove_rule,
    remove_webhook,
    secret_of,
    test_webhook,
)
from app.contract.timestamps import iso
from app.store import notification
from app.store.database import reading
from app.web.dependencies import PartsDep
from app.web.numbers import Count

api = APIRouter(tags=["notifications"])


class WebhookOut(BaseModel):
    """A webhook; ``secret`` signs its requests and is null once it was shown, ``answer`` is the last response."""

    id: str
    url: str
    kinds: list[str]
    secret: str | None
    answer: str | None
    created: str


class WebhooksOut(BaseModel):
    webhooks: list[WebhookOut]


class RuleOut(BaseModel):
    """A rule; ``held`` counts the runs that matched it. It notifies once per run."""

    id: str
    comparison: str
    metric: str
    value: float
    run: str | None
    held: int
    created: str


class RulesOut(BaseModel):
    rules: list[RuleOut]


class NoticeOut(BaseModel):
    """A notification. ``kind``: succeeded, failed, cancelled, rule, disk, test; ``run`` is null for the last two."""

    id: int
    kind: str
    sentence: str
    run: str | None
    rule: str | None
    created: str


class NoticesOut(BaseModel):
    """Notices, newest first."""

    notices: list[NoticeOut]


class TestOut(BaseModel):
    """The test notice."""

    notice: int


@api.get("/webhooks")
def list_webhooks(parts: PartsDep) -> WebhooksOut:
    """List the webhooks."""
    with reading(parts.engine) as connection:
        return WebhooksOut(webhooks=[_webhook(row) for row in notification.list_webhooks(connection)])


@api.post("/webhooks", status_code=201)
def create_webhook(spec: WebhookSpec, parts: PartsDep) -> WebhookOut:
    """Add a webhook: each event is POSTed as JSON with x-runyard-signature: t=SECONDS,v1=HMAC-SHA256."""
    webhook = add_webhook(parts, spec)
    with reading(parts.engine) as connection:
        added = next(_webhook(row) for row in notification.list_webhooks(connection) if row["id"] == webhook)
    return added.model_copy(update={"secret": secret_of(parts, webhook)})


@api.delete("/webhooks/{webhook_id}", status_code=204)
def delete_webhook(webhook_id: str, parts: PartsDep) -> None:
    """Delete a webhook."""
    remove_webhook(parts, webhook_id)


@api.post("/webhooks/{webhook_id}/test", status_code=202)
def try_webhook(webhook_id: str, parts: PartsDep) -> TestOut:
    """Send a notice of kind "test" to a webhook."""
    return TestOut(notice=test_webhook(parts, webhook_id))


@api.get("/rules")
def list_rules(parts: PartsDep) -> RulesOut:
    """List the notification rules."""
    with reading(parts.engine) as connection:
        return RulesOut(rules=[_rule(row) for row in notification.list_rules(connection)])


@api.post("/rules", status_code=201)
def create_rule(spec: RuleSpec, parts: PartsDep) -> RuleOut:
    """Add a rule: notify when a metric is above or below a value, or when a run logs no new data."""
    rule = add_rule(parts, spec)
    with reading(parts.engine) as connection:
        return next(_rule(row) for row in notification.list_rules(connection) if row["id"] == rule)


@api.delete("/rules/{rule_id}", status_code=204)
def delete_rule(rule_id: str, parts: PartsDep) -> None:
    """Delete a rule."""
    remove_rule(parts, rule_id)


@api.get("/notices")
def list_notices(
    parts: PartsDep,
    after: Annotated[Count, Query(description="Only notices with a larger ID.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> NoticesOut:
    """List the notices, newest first."""
    with reading(parts.engine) as connection:
        rows = notification.list_notices(connection, after, limit)
    return NoticesOut(
        notices=[
            NoticeOut(
                id=row["id"],
                kind=row["kind"],
                sentence=row["sentence"],
                run=row["run"],
                rule=row["rule"] or None,
                created=iso(row["created_at"]) or "",
            )
            for row in rows
        ]
    )


def _webhook(row: dict[str, Any]) -> WebhookOut:
    return WebhookOut(
        id=row["id"],
        url=row["url"],
        kinds=row["kinds"],
        secret=None,
        answer=row["answer"],
        created=iso(row["created_at"]) or "",
    )


def _rule(row: dict[str, Any]) -> RuleOut:
    return RuleOut(
        id=row["id"],
        comparison=row["comparison"],
        metric=row["metric"],
        value=row["value"],
        run=row["run"],
        held=row["held"],
        created=iso(row["created_at"]) or "",
    )

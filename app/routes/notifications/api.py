"""/api/v1/webhooks, /api/v1/rules and /api/v1/notices."""

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
    test_webhook,
)
from app.contract.timestamps import iso
from app.store import notification
from app.store.database import reading
from app.web.dependencies import PartsDep

api = APIRouter(tags=["notifications"])


class WebhookOut(BaseModel):
    """A webhook; ``secret`` is what its posts are signed with, ``answer`` what its last one was answered."""

    id: str
    url: str
    kinds: list[str]
    secret: str
    answer: str | None
    created: str


class WebhooksOut(BaseModel):
    webhooks: list[WebhookOut]


class RuleOut(BaseModel):
    """A rule; ``held`` counts the runs for which it has held. It tells of each of them once."""

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
    """Something that happened. ``kind``: succeeded, failed, cancelled, rule, test."""

    id: int
    kind: str
    sentence: str
    run: str | None
    rule: str | None
    created: str


class NoticesOut(BaseModel):
    """The newest first."""

    notices: list[NoticeOut]


class TestOut(BaseModel):
    """The notice that is on its way."""

    notice: int


@api.get("/webhooks")
def list_webhooks(parts: PartsDep) -> WebhooksOut:
    """Who is told."""
    with reading(parts.engine) as connection:
        return WebhooksOut(webhooks=[_webhook(row) for row in notification.list_webhooks(connection)])


@api.post("/webhooks", status_code=201)
def create_webhook(spec: WebhookSpec, parts: PartsDep) -> WebhookOut:
    """Tell an address of what happens: a POST of JSON, with x-runyard-signature: t=SECONDS,v1=HMAC-SHA256."""
    made = add_webhook(parts, spec)
    with reading(parts.engine) as connection:
        return next(_webhook(row) for row in notification.list_webhooks(connection) if row["id"] == made)


@api.delete("/webhooks/{webhook_id}", status_code=204)
def delete_webhook(webhook_id: str, parts: PartsDep) -> None:
    """Tell it nothing more."""
    remove_webhook(parts, webhook_id)


@api.post("/webhooks/{webhook_id}/test", status_code=202)
def try_webhook(webhook_id: str, parts: PartsDep) -> TestOut:
    """Send it a notice of kind "test"."""
    return TestOut(notice=test_webhook(parts, webhook_id))


@api.get("/rules")
def list_rules(parts: PartsDep) -> RulesOut:
    """What is waited for."""
    with reading(parts.engine) as connection:
        return RulesOut(rules=[_rule(row) for row in notification.list_rules(connection)])


@api.post("/rules", status_code=201)
def create_rule(spec: RuleSpec, parts: PartsDep) -> RuleOut:
    """Wait for a metric to be above or below a value, or for a run to make no progress."""
    made = add_rule(parts, spec)
    with reading(parts.engine) as connection:
        return next(_rule(row) for row in notification.list_rules(connection) if row["id"] == made)


@api.delete("/rules/{rule_id}", status_code=204)
def delete_rule(rule_id: str, parts: PartsDep) -> None:
    """Wait for it no longer."""
    remove_rule(parts, rule_id)


@api.get("/notices")
def list_notices(
    parts: PartsDep,
    after: Annotated[int, Query(ge=0, description="Only those with a larger id.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> NoticesOut:
    """What has happened."""
    with reading(parts.engine) as connection:
        found = notification.list_notices(connection, after, limit)
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
            for row in found
        ]
    )


def _webhook(row: dict[str, Any]) -> WebhookOut:
    return WebhookOut(
        id=row["id"],
        url=row["url"],
        kinds=row["kinds"],
        secret=row["secret"],
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

"""Actions on webhooks and notification rules, shared by the API and the pages."""

from __future__ import annotations

import math
import secrets
import time
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import to_json
from sqlalchemy import text

from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.spec import FieldError, Number
from app.services.webhook_request import TargetRefused, check_literal
from app.store import notification
from app.store.database import reading, writing
from app.store.run import load_run, new_id
from app.web.dependencies import Parts

MOST_WEBHOOKS = 20
MOST_RULES = 100


class WebhookSpec(BaseModel):
    """A URL that receives notices of the given kinds; without a secret, one is generated."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://hooks.example.org/runyard", "kinds": ["failed", "rule"]}]},
    )

    url: str = Field(
        max_length=2000, description="URL (http or https) that receives each notice as a POST request with JSON."
    )
    kinds: list[notification.Kind] = Field(
        ["succeeded", "failed", "cancelled", "rule", "disk"],
        max_length=6,
        description="When to call it: a run succeeds, fails, is cancelled or matches a rule, or a disk becomes low or"
        " full, or has room again.",
    )
    secret: str = Field(
        "", max_length=200, description="Key with which the requests are signed (HMAC-SHA256); generated if blank."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        value = value.strip()
        try:
            parts = urlsplit(value)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid or not value.isascii() or any(c.isspace() for c in value):
            raise ValueError("specify an http or https URL, e.g. https://example.org/path")
        return value

    @field_validator("kinds")
    @classmethod
    def _some(cls, value: list[notification.Kind]) -> list[notification.Kind]:
        if not value:
            raise ValueError("specify at least one kind; kinds: succeeded, failed, cancelled, rule, disk")
        return list(dict.fromkeys(value))


class RuleSpec(BaseModel):
    """When to notify: ``metric`` is above or below ``value``, or no new point arrives for ``value`` minutes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"comparison": "above", "metric": "val/acc", "value": 0.98}]},
    )

    comparison: Literal["above", "below", "silent"]
    value: Number = Field(description="Threshold of the metric; for silent, the number of minutes.")
    metric: str = Field("", max_length=200, description="A metric such as val/acc; blank for silent.")
    run: str | None = Field(None, max_length=60, description="Only this run (default: every run).")


def add_webhook(parts: Parts, spec: WebhookSpec) -> str:
    """Add a webhook and return its ID. Raises Invalid, and Conflict if there are too many."""
    now = time.time()
    if not parts.settings.webhook_private:
        try:
            check_literal(spec.url)
        except TargetRefused as error:
            raise _invalid("url", str(error)) from error
    with writing(parts.engine) as connection:
        if int(connection.execute(text("SELECT count(*) FROM webhook")).scalar_one()) >= MOST_WEBHOOKS:
            raise Conflict(f"limit of {MOST_WEBHOOKS} webhooks reached; delete one first")
        webhook = new_id(now, "w")
        connection.execute(
            text("INSERT INTO webhook (id, url, secret, kinds, created_at) VALUES (:id, :url, :secret, :kinds, :now)"),
            {
                "id": webhook,
                "url": spec.url,
                "secret": spec.secret or secrets.token_urlsafe(24),
                "kinds": to_json(spec.kinds).decode(),
                "now": now,
            },
        )
    return webhook


def secret_of(parts: Parts, webhook: str) -> str:
    """Return the secret of a webhook that was just added, to be shown once."""
    with reading(parts.engine) as connection:
        found = connection.execute(text("SELECT secret FROM webhook WHERE id = :id"), {"id": webhook}).scalar_one()
    return str(found)


def remove_webhook(parts: Parts, webhook: str) -> None:
    """Remove a webhook and its pending deliveries. Raises NotFound."""
    with writing(parts.engine) as connection:
        if not connection.execute(text("DELETE FROM webhook WHERE id = :id"), {"id": webhook}).rowcount:
            raise NotFound(f"no webhook '{webhook[:40]}'")


def test_webhook(parts: Parts, webhook: str) -> int:
    """Send a test notice and return its ID. Raises NotFound."""
    now = time.time()
    with writing(parts.engine) as connection:
        if connection.execute(text("SELECT 1 FROM webhook WHERE id = :id"), {"id": webhook}).one_or_none() is None:
            raise NotFound(f"no webhook '{webhook[:40]}'")
        notice = notification.add(connection, None, "", "test", "This is a test notification.", now)
        delivery = text("SELECT 1 FROM delivery WHERE webhook = :webhook AND notice = :notice")
        if connection.execute(delivery, {"webhook": webhook, "notice": notice}).one_or_none() is None:
            notification.deliver(connection, webhook, notice, now)
    return notice


def add_rule(parts: Parts, spec: RuleSpec) -> str:
    """Add a rule and return its ID. Raises Invalid, and Conflict if there are too many."""
    if spec.comparison == "silent":
        if spec.metric:
            raise _invalid("metric", "a rule for no new data covers all metrics; leave metric blank")
        if not 0 < spec.value <= 100_000:
            raise _invalid("value", "value must be greater than 0 and at most 100,000 minutes")
    elif not spec.metric.strip():
        raise _invalid("metric", "metric must be the name of a metric, such as val/acc or one that a script logs")
    if not math.isfinite(spec.value):
        raise _invalid("value", "value must be a finite number")
    now = time.time()
    with writing(parts.engine) as connection:
        if spec.run is not None and load_run(connection, spec.run) is None:
            raise _invalid("run", f"no run '{spec.run[:40]}'")
        if int(connection.execute(text("SELECT count(*) FROM rule")).scalar_one()) >= MOST_RULES:
            raise Conflict(f"limit of {MOST_RULES} rules reached; delete one first")
        rule = new_id(now, "u")
        connection.execute(
            text(
                "INSERT INTO rule (id, run, metric, comparison, value, created_at)"
                " VALUES (:id, :run, :metric, :comparison, :value, :now)"
            ),
            spec.model_dump() | {"id": rule, "now": now, "metric": spec.metric.strip()},
        )
    return rule


def remove_rule(parts: Parts, rule: str) -> None:
    """Remove a rule; its past notices stay. Raises NotFound."""
    with writing(parts.engine) as connection:
        if not connection.execute(text("DELETE FROM rule WHERE id = :id"), {"id": rule}).rowcount:
            raise NotFound(f"no rule '{rule[:40]}'")


def read_notifications(parts: Parts) -> dict[str, Any]:
    """Return the webhooks, the rules and the latest notices."""
    with reading(parts.engine) as connection:
        return {
            "webhooks": notification.list_webhooks(connection),
            "rules": notification.list_rules(connection),
            "notices": notification.list_notices(connection, 0, 50),
        }


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, [FieldError(field, message)])

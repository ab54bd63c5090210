"""Storage of notifications: events, alert rules, webhooks, and their deliveries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from app.store.run import ACTIVE, TERMINAL

Kind = Literal["succeeded", "failed", "cancelled", "rule", "disk", "test"]
KINDS: tuple[Kind, ...] = ("succeeded", "failed", "cancelled", "rule", "disk", "test")
# A run that ended just before the last check may be committed after it.
MARGIN_SECONDS = 60.0
RETENTION_SECONDS = 30 * 86_400.0
# Seconds to wait after each failed attempt.
RETRY_SECONDS = (10.0, 60.0, 300.0, 1800.0, 7200.0)


class Notice(SQLModel, table=True):
    """An event of a run; ``rule`` is the rule that matched, "" for the end of the run. Of a disk, ``run`` is NULL."""

    __tablename__ = "notice"
    __table_args__ = (UniqueConstraint("run", "rule"), Index("ix_notice_created_at", "created_at"))

    id: int | None = Field(None, primary_key=True)
    run: str | None = Field(None, foreign_key="run.id", ondelete="CASCADE")
    rule: str = ""
    kind: str
    sentence: str
    created_at: float


class Webhook(SQLModel, table=True):
    """A URL that receives notices of these kinds (JSON), signed with ``secret``."""

    __tablename__ = "webhook"

    id: str = Field(primary_key=True)
    url: str
    secret: str
    kinds: str
    created_at: float


class Delivery(SQLModel, table=True):
    """A notice to be sent to a webhook; ``next_at`` is NULL once it was delivered or given up."""

    __tablename__ = "delivery"
    __table_args__ = (Index("ix_delivery_next_at", "next_at"),)

    id: int | None = Field(None, primary_key=True)
    webhook: str = Field(foreign_key="webhook.id", ondelete="CASCADE", index=True)
    notice: int = Field(foreign_key="notice.id", ondelete="CASCADE", index=True)
    tries: int = 0
    next_at: float | None
    delivered_at: float | None = None
    answer: str = ""


class Rule(SQLModel, table=True):
    """Matches when the last value of ``metric`` is above or below ``value``, or when a run made no progress for a
    while.

    ``comparison`` is above, below or silent; for silent, ``value`` is in minutes. ``run`` NULL: applies to every run.
    """

    __tablename__ = "rule"

    id: str = Field(primary_key=True)
    run: str | None = Field(None, foreign_key="run.id", ondelete="CASCADE")
    metric: str = ""
    comparison: str
    value: float
    created_at: float


@dataclass(frozen=True)
class Due:
    """A delivery that is due."""

    id: int
    tries: int
    url: str
    secret: str
    notice: dict[str, Any]


# What happened -------------------------------------------------------------------------------------------------------


def anything_new(connection: Connection, since: float, now: float) -> bool:
    """Whether record_ended_runs or record_rule_matches would find something."""
    if connection.execute(text(f"SELECT 1 {_ENDED} LIMIT 1"), {"since": since}).one_or_none() is not None:
        return True
    rules = connection.execute(text("SELECT id, run, metric, comparison, value FROM rule")).all()
    return any(
        connection.execute(text(_MATCHING[rule.comparison] + " LIMIT 1"), {**rule._mapping, "now": now}).one_or_none()
        for rule in rules
    )


# The status is an expression, so that SQLite reads along the index of ended_at.
_ENDED = (
    f"FROM run WHERE ended_at >= :since AND deleted_at IS NULL AND status || '' IN {TERMINAL}"
    " AND NOT EXISTS (SELECT 1 FROM notice WHERE notice.run = run.id AND notice.rule = '')"
)


def record_ended_runs(connection: Connection, since: float, now: float) -> list[str]:
    """Record a notice for every run that ended at ``since`` or later and has none; returns their ids."""
    ended = connection.execute(
        text(f"SELECT id, number, status, reason, family, size, dataset, name {_ENDED} ORDER BY ended_at, number"),
        {"since": since},
    ).all()
    for row in ended:
        title = row.name or f"{row.family} {row.size} · {row.dataset}"
        why = f": {row.reason}" if row.reason else ""
        add(connection, row.id, "", row.status, f"#{row.number} {title} {row.status}{why}", now)
    return [str(row.id) for row in ended]


def record_rule_matches(connection: Connection, now: float) -> list[str]:
    """Record a notice for every run that matches a rule for the first time; returns their ids."""
    rules = connection.execute(text("SELECT id, run, metric, comparison, value FROM rule")).all()
    noted = []
    for rule in rules:
        for row in connection.execute(text(_MATCHING[rule.comparison]), {**rule._mapping, "now": now}).all():
            title = row.name or f"{row.family} {row.size} · {row.dataset}"
            what = _describe_match(rule.comparison, rule.metric, rule.value, row.last)
            add(connection, row.id, rule.id, "rule", f"#{row.number} {title}: {what}", now)
            noted.append(str(row.id))
    return noted


def _describe_match(comparison: str, metric: str, value: float, last: float) -> str:
    if comparison == "silent":
        return f"no new data for {value:g} min"
    return f"{metric} is {last:.4g}, {comparison} {value:g}"


_RUNS = (
    "SELECT run.id, run.number, run.family, run.size, run.dataset, run.name, {last} AS last FROM run{join}"
    " WHERE {which} AND run.deleted_at IS NULL AND (:run IS NULL OR run.id = :run)"
    " AND NOT EXISTS (SELECT 1 FROM notice WHERE notice.run = run.id AND notice.rule = :id)"
)
_VALUED = _RUNS.format(
    last="s.last",
    join=" JOIN metric_series s ON s.run = run.id AND s.name = :metric",
    which=f"(run.status IN {ACTIVE} OR run.id = :run)",
)
_MATCHING = {
    "above": _VALUED + " AND s.last > :value",
    "below": _VALUED + " AND s.last < :value",
    "silent": _RUNS.format(last="0", join="", which="run.status IN ('running', 'finishing')")
    + " AND coalesce((SELECT max(last_time) FROM metric_series WHERE metric_series.run = run.id), run.started_at)"
    " < :now - 60 * :value",
}


def add(connection: Connection, run: str | None, rule: str, kind: str, sentence: str, now: float) -> int:
    """Add a notice, with a delivery to every webhook subscribed to its kind."""
    notice = connection.execute(
        text(
            "INSERT INTO notice (run, rule, kind, sentence, created_at) VALUES (:run, :rule, :kind, :sentence, :now)"
            " RETURNING id"
        ),
        {"run": run, "rule": rule, "kind": kind, "sentence": sentence, "now": now},
    ).scalar_one()
    for webhook, kinds in connection.execute(text("SELECT id, kinds FROM webhook")).all():
        if kind in json.loads(kinds):
            deliver(connection, webhook, int(notice), now)
    return int(notice)


def newest(connection: Connection) -> float | None:
    """When the newest notice about a run was created."""
    timestamp = connection.execute(text("SELECT max(created_at) FROM notice WHERE kind <> 'disk'")).scalar()
    return None if timestamp is None else float(timestamp)


def forget_old(connection: Connection, now: float) -> None:
    """Remove notices older than RETENTION_SECONDS."""
    connection.execute(text("DELETE FROM notice WHERE created_at < :before"), {"before": now - RETENTION_SECONDS})


# Deliveries ----------------------------------------------------------------------------------------------------------


def deliver(connection: Connection, webhook: str, notice: int, now: float) -> None:
    """Schedule a notice for delivery."""
    connection.execute(
        text("INSERT INTO delivery (webhook, notice, tries, next_at, answer) VALUES (:webhook, :notice, 0, :now, '')"),
        {"webhook": webhook, "notice": notice, "now": now},
    )


def due(connection: Connection, now: float, limit: int = 20) -> list[Due]:
    """Due deliveries, oldest first."""
    result = connection.execute(
        text(
            "SELECT d.id AS delivery, d.tries, w.url, w.secret, n.id, n.run, n.rule, n.kind, n.sentence, n.created_at,"
            " run.number, run.status FROM delivery d JOIN webhook w ON w.id = d.webhook"
            " JOIN notice n ON n.id = d.notice LEFT JOIN run ON run.id = n.run"
            " WHERE d.next_at <= :now ORDER BY d.next_at, d.id LIMIT :limit"
        ),
        {"now": now, "limit": limit},
    ).mappings()
    return [
        Due(
            row["delivery"],
            row["tries"],
            row["url"],
            row["secret"],
            {name: row[name] for name in ("id", "run", "rule", "kind", "sentence", "created_at", "number", "status")},
        )
        for row in result
    ]


def record_attempt(connection: Connection, delivery: int, tries: int, arrived: bool, answer: str, now: float) -> None:
    """Record the result of a delivery attempt; after one more than the number of RETRY_SECONDS, it is given up."""
    pause = None if arrived or tries > len(RETRY_SECONDS) else RETRY_SECONDS[tries - 1]
    connection.execute(
        text(
            "UPDATE delivery SET tries = :tries, answer = :answer, delivered_at = :delivered, next_at = :next"
            " WHERE id = :id"
        ),
        {
            "id": delivery,
            "tries": tries,
            "answer": answer[:200],
            "delivered": now if arrived else None,
            "next": None if pause is None else now + pause,
        },
    )


# Lists ---------------------------------------------------------------------------------------------------------------


def list_notices(connection: Connection, after: int, limit: int) -> list[dict[str, Any]]:
    """The newest ``limit`` notices with an id above ``after``, newest first, with the state of their deliveries."""
    result = connection.execute(
        text(
            "SELECT n.id, n.run, n.rule, n.kind, n.sentence, n.created_at,"
            " (SELECT count(*) FROM delivery d WHERE d.notice = n.id) AS sent,"
            " (SELECT count(*) FROM delivery d WHERE d.notice = n.id AND d.delivered_at IS NOT NULL) AS arrived,"
            " (SELECT max(answer) FROM delivery d WHERE d.notice = n.id AND d.delivered_at IS NULL) AS refused"
            " FROM notice n WHERE n.id > :after ORDER BY n.id DESC LIMIT :limit"
        ),
        {"after": after, "limit": limit},
    ).mappings()
    return [dict(row) for row in result]


def list_webhooks(connection: Connection) -> list[dict[str, Any]]:
    """Webhooks without their secrets, with the response to their last attempted delivery."""
    result = connection.execute(
        text(
            "SELECT w.id, w.url, w.kinds, w.created_at, d.answer, d.delivered_at, d.tries, d.next_at"
            " FROM webhook w LEFT JOIN delivery d"
            " ON d.id = (SELECT max(id) FROM delivery WHERE webhook = w.id AND tries > 0) ORDER BY w.created_at, w.id"
        )
    ).mappings()
    return [dict(row) | {"kinds": json.loads(row["kinds"])} for row in result]


def list_rules(connection: Connection) -> list[dict[str, Any]]:
    """Rules, oldest first, with the number of the run that they apply to."""
    result = connection.execute(
        text(
            "SELECT rule.id, rule.run, rule.metric, rule.comparison, rule.value, rule.created_at, run.number,"
            " (SELECT count(*) FROM notice WHERE notice.rule = rule.id) AS held"
            " FROM rule LEFT JOIN run ON run.id = rule.run ORDER BY rule.created_at, rule.id"
        )
    ).mappings()
    return [dict(row) for row in result]

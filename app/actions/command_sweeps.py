"""Sweeps over the placeholders of a signed command."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from app.actions.commands import LAUNCH_ATTEMPTS, check_signature
from app.actions.sweeps import announce_made
from app.contract.command_sweep import CommandSweepRequest
from app.contract.errors import Conflict
from app.store import sweep as sweep_store
from app.store.database import writing
from app.sweeps.trials import CommandTrials
from app.web.dependencies import Parts


def launch_command_sweep(parts: Parts, request: CommandSweepRequest, idempotency_key: str | None = None) -> str:
    """Queue all runs of a sweep over a signed command, or start its search; returns the sweep's ID.

    A repeated ``idempotency_key`` returns the sweep that it launched before. Raises Forbidden without a valid
    signature, SpecError, and Conflict if that sweep was another one.
    """
    check_signature(parts, request)
    for left in reversed(range(LAUNCH_ATTEMPTS)):
        try:
            sweep, made = _insert(parts, request, idempotency_key)
            break
        except IntegrityError:
            # A concurrent launch took the key or the number; the next attempt sees its sweep.
            if not left:
                raise
    announce_made(parts, made)
    return sweep


def _insert(parts: Parts, request: CommandSweepRequest, idempotency_key: str | None) -> tuple[str, list[str]]:
    spec = request.spec
    trials = CommandTrials(spec, request.template)
    planned = trials.expand()
    contents = {
        "asked": spec.model_dump(mode="json", exclude_unset=True),
        "template": trials.request.model_dump(mode="json"),
    }
    with writing(parts.engine) as connection:
        before = sweep_store.find_by_key(connection, idempotency_key) if idempotency_key else None
        if before is not None:
            _check_same(connection, before, contents)
            return before, []
        now = time.time()
        total = len(planned) if spec.method != "tpe" else spec.configurations * spec.seeds
        sweep = sweep_store.insert_sweep(connection, spec.name, contents, total, now, idempotency_key)
        return sweep, trials.insert(connection, sweep, planned, now)


def _check_same(connection: Connection, sweep: str, contents: dict[str, Any]) -> None:
    record = sweep_store.load_sweep(connection, sweep)
    if record is not None and (record.asked, record.template) != (contents["asked"], contents["template"]):
        raise Conflict(f"this Idempotency-Key already launched a different sweep, {sweep}; use a new key")

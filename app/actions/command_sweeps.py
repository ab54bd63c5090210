"""Sweeps of scripts: over the placeholders of a signed command, and over the fields of a signed program."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from app.actions.commands import check_signature
from app.actions.concurrent_launches import until_inserted
from app.actions.programs import launchable
from app.actions.sweeps import announce_made
from app.contract.command_sweep import CommandSweepRequest
from app.contract.errors import Conflict
from app.contract.program_sweep import ProgramSweepRequest
from app.store import sweep as sweep_store
from app.store.database import writing
from app.sweeps.script_trials import CommandTrials, ProgramTrials, ScriptTrials
from app.web.dependencies import Parts


def launch_command_sweep(parts: Parts, request: CommandSweepRequest, idempotency_key: str | None = None) -> str:
    """Queue all runs of a sweep over a signed command, or start its search; returns the sweep's ID.

    A repeated ``idempotency_key`` returns the sweep that it launched before. Raises Forbidden without a valid
    signature, SpecError, and Conflict if that sweep was another one.
    """
    check_signature(parts, request)
    trials = CommandTrials(request.spec, request.template)
    return _launch(parts, trials, trials.request.model_dump(mode="json"), request.name, idempotency_key)


def launch_program_sweep(
    parts: Parts, name: str, request: ProgramSweepRequest, idempotency_key: str | None = None
) -> str:
    """Queue all runs of a sweep over fields of a program, or start its search; returns the sweep's ID.

    A repeated ``idempotency_key`` returns the sweep that it launched before. Raises NotFound, SpecError for values that
    the program does not accept, and Conflict.
    """
    trials = ProgramTrials(request.sweep, request.template(launchable(parts, name)))
    return _launch(parts, trials, trials.template.model_dump(mode="json"), request.name, idempotency_key)


def _launch(
    parts: Parts, trials: ScriptTrials, template: dict[str, Any], name: str, idempotency_key: str | None
) -> str:
    sweep, made = until_inserted(lambda: _insert(parts, trials, template, name, idempotency_key))
    announce_made(parts, made)
    return sweep


def _insert(
    parts: Parts, trials: ScriptTrials, template: dict[str, Any], name: str, idempotency_key: str | None
) -> tuple[str, list[str]]:
    spec = trials.spec
    planned = trials.expand()
    contents = {"asked": spec.model_dump(mode="json", exclude_unset=True), "template": template}
    with writing(parts.engine) as connection:
        before = sweep_store.find_by_key(connection, idempotency_key) if idempotency_key else None
        if before is not None:
            _check_same(connection, before, contents)
            return before, []
        now = time.time()
        total = len(planned) if spec.method != "tpe" else spec.configurations * spec.seeds
        sweep = sweep_store.insert_sweep(connection, name, contents, total, now, idempotency_key)
        return sweep, trials.insert(connection, sweep, planned, now)


def _check_same(connection: Connection, sweep: str, contents: dict[str, Any]) -> None:
    record = sweep_store.load_sweep(connection, sweep)
    if record is not None and (record.asked, record.template) != (contents["asked"], contents["template"]):
        raise Conflict(f"this Idempotency-Key already launched a different sweep, {sweep}; use a new key")

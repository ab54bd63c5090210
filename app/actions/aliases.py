"""What users do with aliases: point one to a run, move it back, remove it."""

from __future__ import annotations

import time

from app.actions.predicting import check_alias, checkpoint_of
from app.contract.errors import Conflict, NotFound
from app.store.alias import AliasRecord, TooManyAliases, find_alias, list_moves, point_alias, remove_alias
from app.store.database import reading, writing
from app.store.run import load_run, resolve_run
from app.web.dependencies import Parts


def set_alias(parts: Parts, name: str, run_id: str, by: str = "") -> AliasRecord:
    """Let a name point to a run's best checkpoint; one that exists moves.

    Raises NotFound, Invalid for a name that cannot be one, and Conflict for a run without a best checkpoint.
    """
    check_alias(name)
    with writing(parts.engine) as connection:
        run = load_run(connection, resolve_run(connection, run_id))
        if run is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        checkpoint_of(run, "best")
        try:
            point_alias(connection, name, run.id, time.time(), by)
        except TooManyAliases as error:
            raise Conflict(str(error)) from error
        found = find_alias(connection, name)
    assert found is not None
    return found


def undo_move(parts: Parts, name: str, by: str = "") -> AliasRecord:
    """Move an alias back to the run before. Raises NotFound, and Conflict if that run is not there any more."""
    with reading(parts.engine) as connection:
        found = find_alias(connection, name)
        moves = list_moves(connection, name)
    if found is None:
        raise NotFound(f"no model '{name[:60]}'")
    before = next((move for move in moves[1:] if move.after == moves[0].before), None)
    if moves[0].before is None or before is None:
        raise Conflict(f"{name} has not pointed to another run before")
    if not before.after_id:
        raise Conflict(f"run #{moves[0].before} was deleted, so {name} cannot move back to it")
    return set_alias(parts, name, before.after_id, by)


def delete_alias(parts: Parts, name: str, by: str = "") -> None:
    """Remove an alias; the run stays. Raises NotFound."""
    with writing(parts.engine) as connection:
        if not remove_alias(connection, name, time.time(), by):
            raise NotFound(f"no model '{name[:60]}'")

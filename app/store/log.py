"""Storage of run logs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.contract.events import LogLine


class RunLog(SQLModel, table=True):
    """One line of a run's log; ``time`` in seconds since 1970, UTC."""

    __tablename__ = "run_log"

    id: int | None = Field(None, primary_key=True)
    run: str = Field(index=True, foreign_key="run.id", ondelete="CASCADE")
    commit_number: int
    attempt: int
    time: float
    level: str
    text: str


def add_lines(connection: Connection, run: str, attempt: int, lines: Iterable[LogLine], commit: int) -> None:
    """Append lines to the log of a run."""
    values = [
        {"run": run, "commit": commit, "attempt": attempt, "time": line.time, "level": line.level, "text": line.text}
        for line in lines
    ]
    if values:
        connection.execute(
            text(
                "INSERT INTO run_log (run, commit_number, attempt, time, level, text)"
                " VALUES (:run, :commit, :attempt, :time, :level, :text)"
            ),
            values,
        )


def read_lines(connection: Connection, run: str, *, tail: int = 200, after_commit: int = 0) -> list[dict[str, Any]]:
    """The last ``tail`` lines added after a commit, oldest first: id, time, level, text, attempt."""
    statement = text(
        "SELECT id, time, level, text, attempt, commit_number FROM run_log WHERE run = :run"
        " ORDER BY id DESC LIMIT :tail"
    )
    # Lines are stored in commit order; filtering by commit in SQL would scan all lines of the run each time.
    with connection.execute(statement, {"run": run, "tail": tail}) as result:
        fresh = [dict(row) for row in takewhile(lambda row: row["commit_number"] > after_commit, result.mappings())]
    return [{name: line[name] for name in ("id", "time", "level", "text", "attempt")} for line in reversed(fresh)]


def lines_beginning_with(connection: Connection, run: str, beginning: str, most: int) -> list[str]:
    """The first ``most`` lines of a run that begin like this, oldest first."""
    statement = text(
        "SELECT text FROM run_log WHERE run = :run AND substr(text, 1, :length) = :beginning ORDER BY id LIMIT :most"
    )
    values = {"run": run, "beginning": beginning, "length": len(beginning), "most": most}
    return [str(line) for line in connection.execute(statement, values).scalars()]

"""Errors that come from the machine are explained, also behind others; those of Runyard itself are not."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import psycopg
import pytest
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy.exc import DatabaseError, OperationalError

from app.contract.settings import Settings
from app.contract.start_faults import explain, redis_refusal, redis_silent

SETTINGS = Settings(data_dir=Path("/srv/yard"))
OUTSIDE = Settings(data_dir=Path("/srv/yard"), redis_url="redis://ada:secret@lab:6379/0")


def os_error(number: int, path: str = "/srv/yard/x") -> OSError:
    return OSError(number, os.strerror(number), path)


def sqlite_error(code: int) -> DatabaseError:
    error = sqlite3.DatabaseError("of SQLite")
    error.sqlite_errorcode = code
    return OperationalError("SELECT 1", {}, error)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (os_error(errno.ENOSPC), "the disk of /srv/yard is full"),
        (os_error(errno.EACCES), "cannot use /srv/yard/x: permission denied"),
        (os_error(errno.EROFS), "cannot use /srv/yard/x: read-only file system"),
        (os_error(errno.ENAMETOOLONG), "cannot use /srv/yard/x: file name too long"),
        (os_error(errno.EMFILE), "too many files are open"),
        (os_error(errno.ENOMEM), "there is not enough memory"),
        (MemoryError(), "there is not enough memory"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "there is not enough memory"),
        (RuntimeError("can't start new thread"), "there is not enough memory"),
        (ModuleNotFoundError("No module named 'torch'", name="torch._C"), "the Python package torch is missing"),
        (AuthenticationError("WRONGPASS"), "refuses the user or password"),
        (ResponseError("unknown command 'HELLO'"), "is too old; install Redis 6.0"),
        (RedisConnectionError("refused"), "does not respond; start it"),
        (ResponseError("LOADING."), "cannot be used: LOADING; correct"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), "the database /srv/yard/runyard.db is damaged"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), "the database /srv/yard/runyard.db is damaged"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DIRECTORY), "cannot write to the database /srv/yard/runyard.db"),
        (sqlite_error(sqlite3.SQLITE_IOERR_READ), "the disk could not read or write the database"),
        (
            OperationalError("SELECT 1", {}, psycopg.OperationalError("server closed\n\tthe connection.\n")),
            "lost the connection to the database of RUNYARD_DATABASE_URL: server closed the connection; start again",
        ),
    ],
)
def test_a_fault_of_the_machine_is_explained_also_as_the_cause_of_another_error(
    error: BaseException, sentence: str
) -> None:
    found = explain(error, OUTSIDE)
    assert found is not None
    assert sentence in found
    assert "secret" not in found
    assert not found.endswith(".")
    outer = RuntimeError("could not start")
    outer.__cause__ = error
    assert explain(outer, OUTSIDE) == found


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), sqlite_error(sqlite3.SQLITE_ERROR), os_error(errno.EPIPE), OSError("x")]
)
def test_a_fault_of_runyard_stays_a_traceback(error: BaseException) -> None:
    assert explain(error, SETTINGS) is None


def test_a_redis_that_may_respond_later_is_not_refused() -> None:
    assert redis_refusal(RedisConnectionError("refused"), OUTSIDE) == ""
    assert (
        redis_silent(OUTSIDE)
        == "Redis at redis://…@lab:6379/0 does not respond; start it, or correct RUNYARD_REDIS_URL"
    )
    assert redis_silent(SETTINGS).endswith("start `runyard up` first")

"""How much room a disk needs, and which errors are those of a full one."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError
from sqlalchemy.exc import OperationalError

from app.contract.disk_space import (
    State,
    disk_full_reason,
    free_space,
    is_disk_full,
    measure,
    pause_limit,
    state_of,
    warn_limit,
    written_folders,
)
from app.contract.settings import Settings

GIB = 2**30
SETTINGS = Settings()
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sqlite_full() -> OperationalError:
    """What SQLite raises when its file may not grow."""
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    try:
        for number in range(10):
            connection.execute(f"CREATE TABLE t{number} (a)")
    except sqlite3.OperationalError as error:
        return OperationalError("CREATE TABLE", {}, error)
    raise AssertionError


class Diskless(Exception):
    sqlstate = "53100"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), True),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), False),
        (sqlite_full(), True),
        (OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked")), False),
        (OperationalError("INSERT", {}, Diskless("could not extend file")), True),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), True),
        (ResponseError("MISCONF Errors writing to the AOF file: Input/output error"), False),
        (ValueError("full"), False),
        (None, False),
    ],
)
def test_the_error_of_a_full_disk_is_recognized_in_every_store(error: BaseException | None, full: bool) -> None:
    assert is_disk_full(error) is full


def test_the_cause_of_an_error_counts() -> None:
    def fail() -> None:
        try:
            raise FULL
        except OSError as error:
            raise RuntimeError("could not save") from error

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert is_disk_full(raised.value)


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_more_room_is_never_a_worse_state_and_a_full_disk_needs_more_to_recover(total: int, free: int) -> None:
    order: list[State] = ["full", "low", "ok"]
    assert 0 <= pause_limit(SETTINGS, total) <= warn_limit(SETTINGS, total)
    for before in order:
        worse, better = (state_of(SETTINGS, each, total, before) for each in (free, free + GIB))
        assert order.index(worse) <= order.index(better)
    after_full = state_of(SETTINGS, free, total, "full")
    assert order.index(after_full) <= order.index(state_of(SETTINGS, free, total))


def test_large_disks_have_fixed_limits_and_small_ones_shares() -> None:
    assert (warn_limit(SETTINGS, 1000 * GIB), pause_limit(SETTINGS, 1000 * GIB)) == (5 * GIB, GIB)
    assert (warn_limit(SETTINGS, 100), pause_limit(SETTINGS, 100)) == (10, 2)
    off = Settings(disk_warn_mib=0, disk_pause_mib=0)
    assert state_of(off, 0, 1000 * GIB) == "ok"


def test_only_local_folders_are_measured(tmp_path: Path) -> None:
    assert written_folders(Settings(data_dir=tmp_path)) == [tmp_path, tmp_path / "artifacts"]
    assert written_folders(Settings(data_dir=tmp_path, artifact_url="s3://bucket/runs")) == [tmp_path]
    elsewhere = Settings(data_dir=tmp_path, artifact_url=f"file://{tmp_path}/far")
    assert written_folders(elsewhere) == [tmp_path, tmp_path / "far"]


def test_the_disk_with_the_least_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free total")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2 * GIB if path == tmp_path else 400 * GIB, 1000 * GIB))
    (tmp_path / "far").mkdir()
    found = measure(Settings(data_dir=tmp_path, artifact_url=str(tmp_path / "far")))
    assert found is not None
    assert (found.folder, found.free, found.state, found.needed) == (str(tmp_path), 2 * GIB, "low", 5 * GIB)
    assert f"disk full on {found.host}" in disk_full_reason(found.folder)


def test_a_folder_that_does_not_exist_yet_has_the_room_of_its_parent(tmp_path: Path) -> None:
    assert free_space(tmp_path / "a" / "b")[1] == free_space(tmp_path)[1]

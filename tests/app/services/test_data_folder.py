"""Whether the data folder can be written is told before anything starts."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.services.data_folder import StartError, check_data_folder

NOBODY = 65534


@pytest.fixture
def nobody() -> Iterator[None]:
    """The test runs as a user who owns nothing; root may write everywhere."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    check_data_folder(tmp_path / "a" / "b")
    check_data_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_somebody_elses_folder_is_named_with_what_to_do(tmp_path: Path, nobody: None) -> None:
    with pytest.raises(StartError, match=r"cannot write to the data folder .*Permission denied.*--data-dir"):
        check_data_folder(tmp_path / "data")


def test_a_database_of_somebody_else_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        sqlite3.connect(Path(folder) / "runyard.db").close()
        (Path(folder) / "runyard.db").chmod(0o600)
        if os.geteuid() != 0:
            (Path(folder) / "runyard.db").chmod(0o400)
        else:
            os.seteuid(NOBODY)
        try:
            with pytest.raises(StartError, match=r"runyard\.db: Permission denied"):
                check_data_folder(Path(folder))
        finally:
            if os.getuid() == 0:
                os.seteuid(0)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(StartError, match="cannot write to the data folder"):
            check_data_folder(folder)


def test_a_file_system_that_is_full_or_read_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for code, words in ((errno.EROFS, "Read-only file system"), (errno.ENOSPC, "is full; free some space")):

        def refuse(*_: Any, code: int = code, **__: Any) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        with pytest.raises(StartError, match=words):
            check_data_folder(tmp_path)

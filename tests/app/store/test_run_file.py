"""Rows about files: whatever happens, each content is either a file or loose, and never both."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.store.database import reading, writing
from app.store.disk_use import disk_use
from app.store.run_file import (
    FileRecord,
    FileTotals,
    add_loose,
    delete_files,
    file_among,
    file_totals,
    find_file,
    forget_loose,
    is_file,
    is_folder,
    is_loose,
    list_files,
    loose_since,
    put_file,
)
from tests.conftest import Runs

PATHS = st.sampled_from(["a", "b", "dir/a", "dir/b", "dir0", "dir/deep/a", "Dir/a"])
ACTS = st.lists(st.tuples(st.sampled_from(["put", "delete", "break off", "clean"]), PATHS, st.integers(0, 2**40)))


@given(ACTS)
def test_every_content_is_a_file_or_loose(runs: Runs, engine: Engine, acts: list[tuple[str, str, int]]) -> None:
    run = runs.add()
    files: dict[str, FileRecord] = {}
    loose: set[str] = set()
    for number, (act, path, size) in enumerate(acts):
        key = f"key-{number}"
        with writing(engine) as connection:
            if act in ("put", "break off"):
                add_loose(connection, run, key, number)
                loose.add(key)
            if act == "put":
                record = FileRecord(path, key, size, number)
                replaced = put_file(connection, run, record)
                assert replaced == (files[path].key if path in files else None)
                loose = (loose - {key}) | ({replaced} if replaced else set())
                files[path] = record
            elif act == "delete":
                doomed = list_files(connection, run, path.split("/")[0])
                delete_files(connection, run, doomed, number)
                loose |= {files.pop(each.path).key for each in doomed}
            elif act == "clean":
                forget_loose(connection, run, [each for _, each in loose_since(connection, number)])
                loose = set()
    with reading(engine) as connection:
        assert {each.path: each for each in list_files(connection, run)} == files
        assert {key for of, key in loose_since(connection, len(acts)) if of == run} == loose
        assert all(is_loose(connection, run, key) and not is_file(connection, run, key) for key in loose)
        assert all(is_file(connection, run, each.key) for each in files.values())
        newest = max((each.created_at for each in files.values()), default=0.0)
        size = sum(each.bytes for each in files.values())
        assert file_totals(connection, run) == FileTotals(len(files), size, newest)
        assert disk_use(connection, run).files == size
        inside = [each.path for each in list_files(connection, run, "dir")]
        assert inside == sorted(path for path in files if path.startswith("dir/"))
        assert is_folder(connection, run, "dir") == bool(inside)


def test_files_are_found_by_their_exact_path(runs: Runs, engine: Engine) -> None:
    run, other = runs.add(), runs.add()
    with writing(engine) as connection:
        for each in (run, other):
            add_loose(connection, each, "k", 1.0)
            put_file(connection, each, FileRecord("a/b_c%", "k", 3, 1.0))
    with reading(engine) as connection:
        assert find_file(connection, run, "a/b_c%") == FileRecord("a/b_c%", "k", 3, 1.0)
        assert find_file(connection, run, "a/bxc%") is None
        assert file_among(connection, run, ["a", "a/b_c%"]) == "a/b_c%"
        assert file_among(connection, run, ["a"]) is None
        assert not is_folder(connection, run, "a/b_c%")
        assert not is_folder(connection, run, "%")


def test_rows_go_with_their_run(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        add_loose(connection, run, "file", 1.0)
        put_file(connection, run, FileRecord("a", "file", 3, 1.0))
        add_loose(connection, run, "loose", 1.0)
        connection.execute(text("DELETE FROM run WHERE id = :run"), {"run": run})
    left: Any = runs.sql("SELECT (SELECT count(*) FROM run_file), (SELECT count(*) FROM loose_file)")
    assert left == [(0, 0)]

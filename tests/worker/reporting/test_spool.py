from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.conftest import until
from worker.reporting.spool import TURN_BYTES, Spool, SpoolEntry, leftovers

KINDS = st.sampled_from(["metrics", "log", "progress", "résultat"])


def reread(folder: Path, run: str = "r", fence: int = 1) -> list[SpoolEntry]:
    spool = Spool(folder, run, fence)
    try:
        return spool.read()
    finally:
        spool.close()


def entries(n: int, start: int = 1) -> list[SpoolEntry]:
    return [SpoolEntry(i, "log", f"entry {i}".encode() * (i % 3)) for i in range(start, start + n)]


@given(st.lists(st.tuples(KINDS, st.binary(max_size=300)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_what_was_appended_is_read_back_in_order_after_a_reopen(said: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), "r", 1)
        appended = [SpoolEntry(i, kind, body) for i, (kind, body) in enumerate(said, 1)]
        for each in appended:
            spool.append(each)
        spool.close()
        assert reread(Path(folder)) == appended


def test_a_record_cut_off_at_any_byte_is_left_out_and_what_is_appended_next_is_found(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r", 1)
    appended = entries(5)
    ends = [0]
    for each in appended:
        spool.append(each)
        ends.append((tmp_path / "r.1.0").stat().st_size)
    spool.close()
    content = (tmp_path / "r.1.0").read_bytes()
    for length in range(len(content) + 1):
        whole = appended[: sum(end <= length for end in ends[1:])]
        (tmp_path / "r.1.0").write_bytes(content[:length])
        spool = Spool(tmp_path, "r", 1)
        assert spool.read() == whole
        more = SpoolEntry(len(whole) + 1, "log", b"after the crash")
        spool.append(more)
        spool.close()
        assert reread(tmp_path) == [*whole, more]


@given(st.lists(st.one_of(st.integers(1, 120), st.floats(0, 1), st.none()), max_size=40))
@settings(max_examples=100, deadline=None)
def test_cutting_frees_committed_entries_only(doings: list[int | float | None]) -> None:
    """An int appends a body of that length, a float commits that share of what is open, None reopens."""
    with tempfile.TemporaryDirectory() as folder, mock.patch("worker.reporting.spool.TURN_BYTES", 150):
        spool = Spool(Path(folder), "r", 1)
        newest = committed = 0
        for doing in doings:
            if doing is None:
                spool.close()
                spool = Spool(Path(folder), "r", 1)
                spool.read()
            elif isinstance(doing, int):
                newest += 1
                spool.append(SpoolEntry(newest, "log", bytes([newest % 256]) * doing))
            else:
                committed += round((newest - committed) * doing)
                spool.discard(committed)
            found = spool.read()
            numbers = [said.sequence for said in found]
            assert numbers == sorted(set(numbers))
            assert set(numbers) >= set(range(committed + 1, newest + 1))
            assert all(set(said.body) == {said.sequence % 256} for said in found)
        spool.close()


def test_a_spool_that_is_committed_as_it_grows_stays_small(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r", 1)
    body = b"x" * 10_000
    largest = 0
    for sequence in range(1, 401):
        spool.append(SpoolEntry(sequence, "log", body))
        spool.discard(sequence - 1)
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    spool.close()
    assert TURN_BYTES < largest < 2 * TURN_BYTES + 4 * len(body) < 400 * len(body)


def test_two_processes_cannot_write_the_same_spool_and_death_gives_it_back(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from worker.reporting.spool import SpoolEntry, Spool\n"
        "spool = Spool(Path(sys.argv[1]), 'r', 1); spool.append(SpoolEntry(1, 'log', b'theirs'))\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(BlockingIOError):
            Spool(tmp_path, "r", 1)
        Spool(tmp_path, "r", 2).remove()
        other.kill()
    until(lambda: other.poll() is not None, "the other process is gone")
    assert reread(tmp_path) == [SpoolEntry(1, "log", b"theirs")]


def test_a_full_disk_leaves_no_half_record_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "r", 1)
    spool.append(SpoolEntry(1, "log", b"kept"))
    size = (tmp_path / "r.1.0").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            spool.append(SpoolEntry(2, "log", b"y" * 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    spool.append(SpoolEntry(2, "log", b"kept too"))
    spool.close()
    assert reread(tmp_path) == [SpoolEntry(1, "log", b"kept"), SpoolEntry(2, "log", b"kept too")]


def test_leftovers_are_the_spools_that_were_not_removed(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "missing") == []
    for run, fence in (("r_b", 12), ("r_a", 3), ("r_a", 2)):
        Spool(tmp_path, run, fence).close()
    assert leftovers(tmp_path) == [("r_a", 2), ("r_a", 3), ("r_b", 12)]
    Spool(tmp_path, "r_a", 3).remove()
    assert leftovers(tmp_path) == [("r_a", 2), ("r_b", 12)]

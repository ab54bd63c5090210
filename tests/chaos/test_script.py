"""What a command of a campaign notes is on its disk: whole lines of its own curve, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.script import curves, notes, written


def part(name: str, *steps: int) -> bytes:
    return json.dumps({"curves": {name: {"offset": 0, "step": steps, "value": [0.5] * len(steps)}}}).encode() + b"\n"


SECOND = part("attempt 2/loss", 3, 4)


@given(cut=st.integers(0, len(SECOND)))
def test_points_count_as_written_only_if_the_whole_line_is(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spool")
    first = part("attempt 2/loss", 0, 1, 2)
    (folder / "a.jsonl").write_bytes(b'{"head": {}}\n' + first + SECOND[:cut])
    (folder / "b.jsonl").write_bytes(part("attempt 1/loss", 0, 1, 2, 3))
    assert written(folder, "attempt 2/loss") == ({3, 5} if cut == len(SECOND) else {3})


def test_notes_are_read_by_attempt(tmp_path: Path) -> None:
    (tmp_path / "noted.1").write_text("30")
    (tmp_path / "noted.12").write_text("300")
    (tmp_path / "draft").write_text("6")
    assert notes(tmp_path) == {1: 30, 12: 300}


@given(st.integers(0, 2**32 - 1))
def test_a_script_logs_the_same_points_in_every_attempt(seed: int) -> None:
    assert curves(seed, 40) == curves(seed, 40)
    assert [step for step, _ in curves(seed, 40)["loss"]] == list(range(40))

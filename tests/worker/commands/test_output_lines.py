from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.output_lines import (
    BURST_LINES,
    LAST_LINES,
    LINES_PER_SECOND,
    LONGEST_LINE,
    MANY_LINES,
    PROGRESS_SECONDS,
    LineBudget,
    OutputLines,
)


def read(*chunks: bytes, now: float = 0.0) -> list[str]:
    lines = OutputLines()
    return [line for chunk in chunks for line in lines.feed(chunk, now)] + lines.close()


@given(st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Z"])), max_size=8), st.data())
def test_lines_do_not_depend_on_where_the_output_is_cut(lines: list[str], data: st.DataObject) -> None:
    output = "".join(f"{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=5)))
    chunks = [output[start:end] for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True)]
    assert read(*chunks) == lines


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"no line end", ["no line end"]),
        (b"Windows\r\nends\r\n", ["Windows", "ends"]),
        (b"\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain\n", ["red and plain"]),
        (b"bell\x07 and nul\x00\ttab\n", ["bell and nul\ttab"]),
        (b"caf\xc3\xa9 \xff\n", ["café \ufffd"]),
        (b"\n\n", ["", ""]),
        (b"", []),
    ],
)
def test_output_becomes_plain_text(output: bytes, lines: list[str]) -> None:
    assert read(output) == lines


def test_a_progress_bar_is_logged_now_and_then_and_at_its_end() -> None:
    lines = OutputLines()
    assert lines.feed(b"10%\r20%\r", 0.0) == ["20%"]
    assert lines.feed(b"30%\r", 1.0) == []
    assert lines.feed(b"40%\r", PROGRESS_SECONDS) == ["40%"]
    assert lines.feed(b"100%\n", PROGRESS_SECONDS + 1) == ["100%"]
    assert lines.close() == []


def test_a_long_line_is_continued_on_the_next() -> None:
    lines = read(b"x" * (2 * LONGEST_LINE + 5), b"y\n")
    assert [len(line) for line in lines] == [LONGEST_LINE, LONGEST_LINE, 6]


def test_the_last_line_that_is_not_blank_is_known() -> None:
    lines = OutputLines()
    lines.feed(b"ValueError: no\n\n  \n", 0.0)
    lines.close()
    assert lines.last == "ValueError: no"


def test_lines_within_the_budget_are_all_logged() -> None:
    budget = LineBudget(0.0)
    assert budget.admit(["a", "b"], 0.0) == ["a", "b"]
    assert budget.flush() == []


def test_what_is_too_much_is_told_and_its_newest_lines_are_kept() -> None:
    budget = LineBudget(0.0)
    many = [str(number) for number in range(BURST_LINES + 1000)]
    assert budget.admit(many, 0.0) == many[:BURST_LINES]
    assert budget.admit(["the error"], 0.1) == []
    left_out = 1001 - LAST_LINES
    told = budget.flush()
    assert told[0] == f"(skipped {left_out:,} lines: too many per second)"
    assert told[1:] == [*many[-(LAST_LINES - 1) :], "the error"]


def test_a_command_that_has_said_much_is_logged_slowly() -> None:
    budget, logged = LineBudget(0.0), 0
    for second in range(1, 1001):
        logged += len(budget.admit(["line"] * 200, float(second)))
    assert MANY_LINES <= logged < MANY_LINES + 2 * BURST_LINES


@given(st.lists(st.tuples(st.integers(0, 20_000), st.floats(0, 20)), max_size=8))
def test_no_line_is_lost_without_being_counted_and_the_rate_is_kept(bursts: list[tuple[int, float]]) -> None:
    budget, now, given_lines, logged = LineBudget(0.0), 0.0, 0, []
    for count, pause in bursts:
        now += pause
        logged += budget.admit([f"line {number}" for number in range(given_lines, given_lines + count)], now)
        given_lines += count
        assert len(logged) <= BURST_LINES + now * LINES_PER_SECOND + len(bursts)
    logged += budget.flush()
    own = [line for line in logged if line.startswith("line ")]
    skipped = [int(line.split()[1].replace(",", "")) for line in logged if line.startswith("(skipped")]
    assert len(own) + sum(skipped) == given_lines
    assert own == sorted(own, key=lambda line: int(line.split()[1]))

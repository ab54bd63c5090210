"""bench/README.md admits every target that a result misses, with the figure that was measured."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from bench.report import RESULTS

NUMBER = re.compile(r"\d+(?:\.\d+)?")


def rows(verdict: str) -> list[dict[str, Any]]:
    """All rows of all results whose verdict begins with this."""
    found = [row for path in sorted(RESULTS.glob("*.json")) for row in json.loads(path.read_text())["rows"]]
    return [row for row in found if row.get("met", "").startswith(verdict)]


def section() -> str:
    text = (RESULTS.parent / "README.md").read_text()
    return text.partition("## Missed targets")[2].partition("\n## ")[0]


def admitted(figure: float, words: str) -> bool:
    """Whether a number of ``words`` is ``figure``, rounded to the digits that are given."""
    return any(round(figure, len(number.partition(".")[2])) == float(number) for number in NUMBER.findall(words))


def figure_and_target(row: dict[str, Any]) -> tuple[float, float]:
    judged_by, _, number = row["target"].split()
    return float(row[judged_by]), float(number)


def test_the_table_has_a_line_for_each_target_that_noise_does_not_explain() -> None:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section().splitlines() if line[:1] == "|"][2:]
    missed = rows("no")
    assert Counter(float(line[2]) for line in lines) == Counter(figure_and_target(row)[1] for row in missed)
    for row in missed:
        figure, target = figure_and_target(row)
        (line,) = [line for line in lines if float(line[2]) == target]
        # Test accuracies are given as means, which are in the note.
        assert line[1].split(" (")[0] in row.get("note", "") or admitted(figure, line[1]), row


def test_the_list_below_has_each_target_that_another_run_may_meet() -> None:
    text = section().partition("Off by less")[2]
    bullets = [" ".join(bullet.split()) for bullet in text.split("\n- ")[1:]]
    for row in rows("within"):
        figure, target = figure_and_target(row)
        assert any(
            admitted(figure, bullet) and admitted(target, bullet.rpartition("target")[2]) for bullet in bullets
        ), row
    assert bullets


@pytest.mark.parametrize(
    ("figure", "words", "found"), [(0.7033, "0.70", True), (27.86, "p95 28", True), (1.2, "1.1", False)]
)
def test_a_figure_is_admitted_only_as_it_was_measured(figure: float, words: str, found: bool) -> None:
    assert admitted(figure, words) is found

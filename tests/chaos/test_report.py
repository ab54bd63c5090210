"""The report of all campaigns, and the exit status of the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import __main__ as command
from tests.chaos.campaign import Campaign, Result
from tests.chaos.report import merge

RESULT = Result(
    seed=7,
    database="sqlite",
    tried=13,
    fired={"kill redis": 8, "full disk data": 4},
    missing={},
    runs=3,
    points=100,
    attempts=4,
    statuses={"succeeded": 3},
    acts={"launched": 3},
    seconds=60.0,
    findings=[],
)


def test_several_campaigns_add_up_and_one_that_is_repeated_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"
    merge([RESULT, replace(RESULT, database="postgresql", findings=["lost: step 3"])], path)
    merge([replace(RESULT, seed=8, fired={"kill redis": 5})], path)
    report = merge([replace(RESULT, fired={"kill redis": 1})], path)
    assert json.loads(path.read_text()) == report
    assert (report["faults"], report["findings"]) == (1 + 5 + 12, 1)
    assert report["fired"] == {"full disk data": 4, "kill redis": 14}
    assert [(each["seed"], each["database"]) for each in report["campaigns"]] == [
        (7, "postgresql"),
        (7, "sqlite"),
        (8, "sqlite"),
    ]
    assert {row["what"]: row["n"] for row in report["rows"]} == {"faults on postgresql": 12, "faults on sqlite": 6}


@pytest.mark.parametrize(
    ("result", "status"),
    [(RESULT, 0), (replace(RESULT, fired={}), 1), (replace(RESULT, findings=["hanging: run a is still lost"]), 1)],
)
def test_a_campaign_with_a_finding_or_without_a_fault_fails(
    result: Result, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "carry_out", _answering(result))
    assert command.main(["--database", "sqlite", "--faults", "12"]) == status
    said = capsys.readouterr().out
    assert f"{result.faults} of 13 faults fired" in said
    assert all(finding in said for finding in result.findings)


def _answering(result: Result) -> Callable[[Campaign], Result]:
    def carry_out(campaign: Campaign) -> Result:
        campaign.folder.rmdir()
        return result

    return carry_out

"""Two runs or groups image by image: the table, McNemar's sentence, and where the images are."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient
from statsmodels.stats.contingency_tables import mcnemar

from app.contract.settings import Settings
from tests.app.predicted import keep, predictions_of
from tests.app.routes.conftest import Page
from tests.conftest import Runs


@pytest.fixture
def predicted(runs: Runs, settings: Settings, engine: Engine) -> Any:
    """Adds a run that has ended, with kept predictions, or without."""

    def add(kept: bool = True, spec: Any = None, **said: Any) -> str:
        run = runs.add(**(spec or {}))
        runs.finish(run)
        if kept:
            keep(settings, engine, predictions_of(run, **said))
        return run

    return add


def counts(page: Page) -> list[int]:
    """The four numbers of the table."""
    table = page.html.split('id="two-by-two"')[1].split("</table>")[0]
    return [int(number) for number in re.findall(r">(\d+)<", table)]


def test_two_runs_are_compared_image_by_image(client: TestClient, predicted: Any, look: Any) -> None:
    one, other = predicted(seed=1, skill=0.6), predicted(seed=10, skill=0.9)
    page = look(client.get(f"/compare?runs={one},{other}&by=none"))
    both, first, second, none = counts(page)
    right = [client.get(f"/api/v1/runs/{each}/predictions").json()["accuracy"] for each in (one, other)]
    assert both + first + second + none == 180
    assert (both + first) / 180 == pytest.approx(right[0])
    assert (both + second) / 180 == pytest.approx(right[1])
    p = mcnemar([[both, first], [second, none]], exact=True).pvalue
    assert p < 0.001
    assert "(McNemar&#39;s exact test, p &lt; 0.001)" in page.html
    links = {link["href"] for link in page.all("a") if "outcome=" in link["href"]}
    for outcome, count in (("first", first), ("second", second), ("none", none)):
        (link,) = (each for each in links if f"outcome={outcome}" in each and "/api/" not in each)
        answer = client.get(link.replace("/runs/", "/api/v1/runs/", 1))
        assert answer.json()["total"] == count


def test_runs_that_hardly_differ_do_not_differ_significantly(client: TestClient, predicted: Any, look: Any) -> None:
    one, other = predicted(seed=1), predicted(seed=1)
    page = look(client.get(f"/compare?runs={one},{other}&by=none"))
    assert "do not differ significantly" in page.html
    assert "p = 1)" in page.html


def test_groups_vote(client: TestClient, predicted: Any, look: Any) -> None:
    groups = [
        [predicted(seed=10 * seed, skill=skill, spec={"seed": seed, "lr": rate}) for seed in (1, 2, 3)]
        for skill, rate in ((0.6, 0.1), (0.8, 0.2))
    ]
    ids = ",".join(run for group in groups for run in group)
    page = look(client.get(f"/compare?runs={ids}&by=variant"))
    assert "majority vote" in page.html
    both, first, _, none = counts(page)
    (link,) = {each["href"] for each in page.all("a") if "outcome=first" in each["href"]}
    found = client.get(link.replace("/runs/", "/api/v1/runs/", 1)).json()
    assert found["total"] == first
    assert both + first > 0.6 * 180
    assert none < 180


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"kept": False}, "run #2: this run ended before its first checkpoint"),
        ({"dataset": "mnist"}, "run #2 is of mnist, run #1 of digits"),
        ({"images": 90}, "run #2 was not evaluated on the same test images"),
        ({"head": "thickness"}, "run #2 does not predict digit"),
    ],
)
def test_what_cannot_be_compared_says_why(
    client: TestClient, predicted: Any, look: Any, said: dict[str, Any], reason: str
) -> None:
    page = look(client.get(f"/compare?runs={predicted()},{predicted(**said)}&by=none"))
    assert f"They cannot be compared image by image: {reason}" in page.html


def test_a_run_without_predictions_is_offered_for_evaluation_and_no_list_of_wrong_labels(
    client: TestClient, predicted: Any, runs: Runs, look: Any
) -> None:
    one, bare, third = predicted(), predicted(kept=False), predicted(seed=3)
    runs.set(bare, best_checkpoint='{"path": "x", "epoch": 1, "step": 1}')
    page = look(client.get(f"/compare?runs={one},{bare}&by=none"))
    assert "run #2: no predictions are kept for this run; <a" in page.html
    assert page.all("a", href=f"/runs/{bare}/predictions")
    for ids in (f"{one},{bare}", f"{bare},{one},{third}", f"{one},{third},{bare}"):
        page = look(client.get(f"/compare?runs={ids}&by=none"))
        assert "never-right" not in page.words


def test_two_runs_that_keep_no_predictions_of_the_same_images_have_no_common_list(
    client: TestClient, predicted: Any, look: Any
) -> None:
    page = look(client.get(f"/compare?runs={predicted()},{predicted(images=90)}&by=none"))
    assert "never-right" not in page.words


def test_the_list_of_images_that_no_run_gets_right_says_how_many(client: TestClient, predicted: Any, look: Any) -> None:
    ids = [predicted(seed=seed, skill=0.5) for seed in (1, 10, 20)]
    page = look(client.get(f"/compare?runs={','.join(ids)}&by=none"))
    (link,) = (each["href"] for each in page.all("a") if "/api/" in each["href"] and "outcome=none" in each["href"])
    count = len(client.get(link).text.splitlines()) - 1
    assert count > 0
    assert page.words["never-right"] == (
        f"Images that none of the 3 runs gets right (CSV): possibly wrong labels, {count} of 180 test images."
    )
    all_right = [predicted(seed=seed, skill=1.0) for seed in (1, 10, 20, 30, 40)]
    page = look(client.get(f"/compare?runs={','.join(all_right)}&by=none"))
    assert "is predicted right by at least one of the 5 runs" in page.words["never-right"]


@pytest.mark.parametrize(("count", "asked"), [(1, False), (2, False), (3, True), (4, True)])
def test_more_than_two_runs_are_asked_to_be_two(
    client: TestClient, predicted: Any, look: Any, count: int, asked: bool
) -> None:
    ids = ",".join(predicted(seed=seed) for seed in range(count))
    page = look(client.get(f"/compare?runs={ids}&by=none"))
    assert ("choose-two" in page.words) == asked
    assert not asked or page.all("a", href=f"/compare?picked={ids}")


def test_three_runs_have_no_pair_but_images_that_none_gets_right(client: TestClient, predicted: Any, look: Any) -> None:
    ids = [predicted(seed=seed, skill=0.5) for seed in (1, 10, 20)]
    page = look(client.get(f"/compare?runs={','.join(ids)}&by=none"))
    assert not page.all("table", id="two-by-two")
    assert "none of the 3 runs gets right" in page.html

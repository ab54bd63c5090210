"""A robustness card: accuracies of the best checkpoint, the clean one equal to the trainer's own test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.contract.model_jobs import JobRequest, RobustnessResult
from tests.worker.conftest import Fitted, fit_run, make_config
from worker.model_jobs.corruptions import corruptions
from worker.model_jobs.robustness import run


def request(fitted: Fitted, data_dir: Path, **options: Any) -> JobRequest:
    best = [each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]
    return JobRequest(
        job="j",
        kind="robustness",
        run="r",
        fence=1,
        checkpoint=best,
        options=options,
        artifacts=str(fitted.artifacts),
        datasets=data_dir / "datasets",
    )


def test_a_card_has_every_corruption_and_strength_of_every_head(data_dir: Path) -> None:
    heads = ["digit", "thickness"]
    fitted = fit_run(make_config(epochs=8, lr=0.01, targets=heads), data_dir)
    shares: list[float] = []
    asked = request(fitted, data_dir, seed=3)
    card = run(asked, shares.append)
    assert (card.dataset, card.images, card.seed, card.strengths) == ("digits", 360, 3, 5)
    for head in heads:
        assert list(card.accuracy[head]) == [kind.name for kind in corruptions(1)] == list(card.parameters)
        assert all(len(row) == 5 for row in card.accuracy[head].values())
        assert card.clean[head] == pytest.approx(fitted.reporter.curves[f"test/{head}/acc"][-1][1])
        values = [value for row in card.accuracy[head].values() for value in row]
        assert card.mean[head] == pytest.approx(sum(values) / 75)
        assert all(0 <= value <= 1 for value in values)
    assert card.mean["digit"] < card.clean["digit"], "spoiled images are harder"
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert run(asked, lambda share: None) == card, "the same seed gives the same card"
    other = run(request(fitted, data_dir, seed=4), lambda share: None)
    assert other.accuracy != card.accuracy
    assert RobustnessResult.model_validate_json(card.model_dump_json()) == card

"""A model card says what was measured, and that the rest was not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.analysis.leaderboard import IGNORED
from app.analysis.model_card import Facts, ModelCard, Section, model_card, same_but_seed
from app.contract.predictions import Header, HeadPredictions, Predictions
from app.store.metric import Summary
from tests.app.predicted import predictions_of as predicted

DIGITS = tuple("0123456789")


def figure(value: float) -> Summary:
    return Summary(1, value, 10, value, 10, value, value, 0, 10)


def predictions(run: str) -> Predictions:
    """Class 3 is recognized in half of the cases and class 9 has one image; all else is right."""
    labels = np.array([0] * 40 + [3] * 20 + [9])
    probabilities = np.full((61, 10), 0.02, np.float32)
    probabilities[np.arange(61), labels] = 0.82
    probabilities[40:50] = np.roll(probabilities[40:50], 5, 1)
    header = Header(run=run, fence=1, epoch=2, step=18, dataset="digits", targets={"digit": DIGITS}, created_at=0.0)
    return Predictions(header, {"test": {"digit": HeadPredictions.of(probabilities, labels)}})


def words_of(card: ModelCard, title: str) -> str:
    section = next(each for each in card.sections if each.title == title)
    cells = [" ".join(row) for row in section.rows]
    return "\n".join([*(f"{name}: {value}" for name, value in section.facts), *section.sentences, *cells])


def test_classes_calibration_and_limits_come_from_the_kept_predictions(runs: Any) -> None:
    run = runs.get(runs.add(dataset="digits"))
    card = model_card(Facts(run, {"test/acc": figure(51 / 61)}, predictions=predictions(run.id)))
    analyses, limits = words_of(card, "Quantitative Analyses"), words_of(card, "Caveats and Recommendations")
    assert "accuracy 83.6%" in analyses
    assert "expected calibration error" in analyses
    assert "digit 3 20 100.0% 50.0% 66.7%" in analyses
    assert "Smallest class of digit in the test set: 9, with 1 image." in limits
    assert "Recognized least often, digit: 3 (50.0%, 95% interval 29.9% to 70.1%)" in limits
    assert "7 of the 10 classes of digit have no test image." in limits


def test_several_seeds_are_a_mean_with_its_interval_and_one_seed_says_so(runs: Any) -> None:
    ids = [runs.add(dataset="digits", seed=seed) for seed in (1, 2, 3)] + [runs.add(dataset="digits", seed=1, lr=0.5)]
    for each in ids:
        runs.finish(each)
    records = [runs.get(each) for each in ids]
    same = same_but_seed(records[0], records, IGNORED)
    assert same == ids[:3]
    figures = [{"test/acc": figure(value)} for value in (0.9, 0.92, 0.94)]
    card = model_card(Facts(records[0], figures[0], list(zip(records[:3], figures, strict=True))))
    assert "92 ± 5% (n = 3)" in words_of(card, "Metrics")
    alone = model_card(Facts(records[0], figures[0], [(records[0], figures[0])]))
    assert "How much the results vary between seeds was not measured." in words_of(alone, "Metrics")


def test_an_accuracy_has_wilsons_interval_for_the_test_images(runs: Any) -> None:
    run = runs.get(runs.add(dataset="digits"))
    card = model_card(Facts(run, {"test/acc": figure(0.95), "test/loss": figure(0.2)}))
    assert "test/acc 95.00% 92.24% to 96.81%" in words_of(card, "Metrics")
    assert "test/loss 0.2  " in words_of(card, "Metrics")


def test_a_robustness_card_names_the_worst_change(runs: Any) -> None:
    run = runs.get(runs.add(dataset="digits"))
    summary = {"robust/acc": figure(0.8), "robust/fog/acc": figure(0.6), "robust/gaussian_noise/acc": figure(0.9)}
    card = model_card(Facts(run, summary))
    assert "fog robust/fog/acc 60.00%" in words_of(card, "Factors")
    assert "Most sensitive to fog: 60.00%" in words_of(card, "Caveats and Recommendations")


TESTED = {"test/acc": figure(0.95)}
VALIDATED = {"val/acc": figure(0.9)}


def told(runs: Any, status: str, summary: dict[str, Summary], kept: Any = None, **values: Any) -> str:
    """The card of a run of digits with this status, in Markdown."""
    run = runs.add(dataset="digits")
    runs.set(run, status=status, started_at=1.0, best_checkpoint='{"path": "x", "epoch": 1, "step": 1}', **values)
    return model_card(Facts(runs.get(run), summary, predictions=None if kept is None else kept(run))).markdown()


@pytest.mark.parametrize("status", ["queued", "running", "cancelled", "failed"])
@pytest.mark.parametrize("summary", [{}, VALIDATED])
def test_a_run_that_was_never_tested_claims_no_use_of_test_images(
    runs: Any, status: str, summary: dict[str, Summary]
) -> None:
    text = told(runs, status, summary)
    assert "The test images were not used." in text
    assert "Wilson" not in text
    assert "360 test images of" not in text
    assert ("Measured on 180 validation images" in text) == bool(summary)
    assert ("has not ended" in text) == (status in ("queued", "running"))


def test_a_tested_run_says_so(runs: Any) -> None:
    text = told(runs, "succeeded", TESTED | VALIDATED)
    assert "The run measured the test images once, after training." in text
    assert "Wilson" in text
    assert "Measured on 360 test images of" in text


def test_a_stopped_run_that_was_evaluated_says_when_its_test_images_were_predicted(runs: Any) -> None:
    text = told(runs, "cancelled", VALIDATED, predictions)
    assert "The test images were predicted after the run had ended, by an evaluation." in text
    assert "Measured on 360 test images of" in text


def test_a_run_that_failed_after_its_test_measured_the_test_images_itself(runs: Any) -> None:
    text = told(runs, "failed", TESTED | {"test/loss": figure(0.3)}, predictions)
    assert "The run measured the test images once, after training." in text
    assert "by an evaluation" not in text


def test_robustness_is_a_use_of_the_test_images(runs: Any) -> None:
    text = told(runs, "cancelled", {"robust/acc": figure(0.5), "robust/fog/acc": figure(0.5)})
    assert "Robustness was measured on the test images and changed copies of them." in text
    assert "The test images were not used." not in text


@pytest.mark.parametrize(("status", "yet"), [("running", " yet"), ("cancelled", "")])
def test_the_predictions_of_validation_images_so_far_are_not_denied(runs: Any, status: str, yet: str) -> None:
    text = told(runs, status, VALIDATED, lambda run: Predictions(predicted(run).header, {}, predicted(run).history))
    assert f"Predictions of validation images are kept for epochs 1 to 4; there are none of test images{yet}" in text


def test_a_run_without_a_checkpoint_says_nothing_of_its_best_epoch(runs: Any) -> None:
    run = runs.get(runs.add(dataset="digits"))
    text = model_card(Facts(run, VALIDATED)).markdown()
    assert "best epoch" not in text
    assert "No best checkpoint yet." in text


def test_what_was_not_measured_is_said(runs: Any) -> None:
    card = model_card(Facts(runs.get(runs.add(dataset="digits")), {}))
    text = card.markdown()
    for sentence in (
        "Robustness to noise, blur and other changes was not measured.",
        "No predictions are kept yet, so scores of classes and calibration are not known.",
        "No metric of the test or validation set was reported.",
    ):
        assert sentence in text


@pytest.mark.parametrize("nasty", ["a|b", "*bold*", "<script>", "line\nbreak", "[link](x)"])
def test_names_cannot_change_the_markdown(nasty: str) -> None:
    section = Section("Metrics", [("name", nasty)], [nasty], ["a", "b"], [[nasty, "1"]])
    lines = ModelCard(nasty, [section]).markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 3
    assert all(line.replace("\\|", "").count("|") == 3 for line in table)
    assert "<script>" not in "\n".join(lines)

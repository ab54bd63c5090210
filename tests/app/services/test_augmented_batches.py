"""Pictures of augmented images are drawn once, by a process that ends when nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.contract.errors import Unavailable
from app.contract.spec import RunConfig
from app.services import picture_process
from app.services.augmented_batches import AugmentedBatches, is_augmented
from tests.conftest import config, run_apart, until


@pytest.fixture
def batches(tmp_path: Path) -> Iterator[AugmentedBatches]:
    found = AugmentedBatches(tmp_path)
    yield found
    found.close()


def asked(batches: AugmentedBatches) -> list[RunConfig]:
    """Fills up with what the real process is asked."""
    found: list[RunConfig] = []
    real = batches._process._process._process.ask

    def ask(command: tuple[str, ...], question: dict[str, Any]) -> dict[str, Any]:
        found.append(RunConfig.model_validate(question))
        return real(command, question)

    batches._process._process._process.ask = ask  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"mirror": True}, False),
        ({"balanced_sampling": True, "class_weights": "balanced"}, False),
        ({"flip": True}, True),
        ({"mixup": 0.2}, True),
        ({"rotation": 5.0}, True),
        ({"random_crop_scale": 0.3}, True),
        ({"color_jitter": 0.2}, True),
    ],
)
def test_only_settings_that_change_images_are_an_augmentation(settings: dict[str, Any], expected: bool) -> None:
    assert is_augmented(config(**settings)) is expected


def test_a_picture_is_drawn_once_whatever_else_is_trained_with(batches: AugmentedBatches) -> None:
    questions = asked(batches)

    async def several() -> list[bytes]:
        wanted = [config(flip=True), config(flip=True, lr=0.5, epochs=7), config(flip=True, seed=2)]
        return await asyncio.gather(*(batches.picture(each) for each in wanted))

    first, same, other = run_apart(several())
    assert first == same != other
    assert first.startswith(b"\x89PNG")
    assert [question.seed for question in questions] == [1, 2]
    assert batches.kept(config(flip=True)) == first
    assert batches.kept(config(flip=True, rotation=1.0)) is None


def test_a_dataset_that_is_not_there_is_told_and_asked_for_again(batches: AugmentedBatches) -> None:
    questions = asked(batches)
    wanted = config(dataset="mnist", flip=True)
    for _ in range(2):
        with pytest.raises(Unavailable, match="augmented images are shown once a run has prepared mnist"):
            run_apart(batches.picture(wanted))
    assert len(questions) == 2


def test_the_process_ends_when_nobody_asks_and_starts_again(
    batches: AugmentedBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_process, "IDLE_SECONDS", 0.2)
    run_apart(batches.picture(config(flip=True)))
    until(lambda: batches._process._process._process._process is None)
    run_apart(batches.picture(config(flip=True, seed=2)))


def test_closed_batches_leave_no_process_and_start_none(batches: AugmentedBatches) -> None:
    run_apart(batches.picture(config(flip=True)))
    process = batches._process._process._process._process
    assert process is not None
    batches.close()
    assert process.poll() is not None
    with pytest.raises(Unavailable, match="shutting down"):
        run_apart(batches.picture(config(flip=True, seed=2)))

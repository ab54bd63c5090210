"""Sheets of augmented training images: the images of the run's first batch, changed as its settings say."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from app.contract.datasets import dataset
from tests.conftest import config
from tests.worker.own_dataset import make_own_dataset
from worker.data.augmented_batch import COLUMNS, GAP, PAIR_GAP, ROWS, Sheets, draw
from worker.data.dataset_readers import Labeled
from worker.data.datasets import Data, load, save_prepared
from worker.data.device_dataset import order

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load("digits", ["digit"], tmp_path_factory.mktemp("datasets"), lambda sentence: None)


def cells(png: bytes, side: int = 28) -> Pixels:
    """The images of a sheet, [rows, columns, side, side, RGBA]."""
    sheet = np.asarray(Image.open(io.BytesIO(png)))
    step, pair = side + GAP, 2 * side + GAP + PAIR_GAP
    pairs, columns = (sheet.shape[0] + PAIR_GAP) // pair, (sheet.shape[1] + GAP) // step
    assert sheet.shape == (pairs * pair - PAIR_GAP, columns * step - GAP, 4)
    tops = [number * pair + below for number in range(pairs) for below in (0, step)]
    return np.stack([np.stack([sheet[top:, c * step :][:side, :side] for c in range(columns)]) for top in tops])


def originals_and_augmented(data: Data, **settings: Any) -> tuple[Pixels, Pixels]:
    found = cells(draw(data, config(**settings)))
    assert found.shape[:2] == (2 * ROWS, COLUMNS)
    return found[0::2].reshape(-1, 28, 28, 4), found[1::2].reshape(-1, 28, 28, 4)


def test_a_sheet_has_the_first_images_of_the_first_batch_and_transparent_gaps(digits: Data) -> None:
    originals, augmented = originals_and_augmented(digits, seed=5)
    first = order(5, 0, len(digits.train), COLUMNS * ROWS, torch.device("cpu"))[0]
    pixels = digits.train.images[first, 0].numpy()
    for shown in (originals, augmented):
        assert np.array_equal(shown[..., 0], pixels)
        assert np.array_equal(shown[..., 2], pixels)
    sheet = np.asarray(Image.open(io.BytesIO(draw(digits, config(seed=5)))))
    assert (sheet[28 : 28 + GAP, :, 3] == 0).all()
    assert (sheet[:28, :28, 3] == 255).all()


def test_flipped_images_are_shown_flipped(digits: Data) -> None:
    originals, augmented = originals_and_augmented(digits, flip=True)
    same = [np.array_equal(a, b) for a, b in zip(originals, augmented, strict=True)]
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(originals, augmented, strict=True)]
    assert all(s or m for s, m in zip(same, mirrored, strict=True))
    assert 0 < sum(same) < len(same)


@pytest.mark.parametrize(
    "settings",
    [
        {"random_crop_scale": 0.3},
        {"crop_padding": 3},
        {"rotation": 20.0},
        {"color_jitter": 0.5},
        {"erasing": 1.0},
        {"mixup": 1.0},
        {"cutmix": 1.0},
    ],
    ids=lambda settings: str(next(iter(settings))),
)
def test_every_augmentation_is_seen_and_drawn_alike_each_time(digits: Data, settings: dict[str, Any]) -> None:
    originals, augmented = originals_and_augmented(digits, **settings)
    changed = [not np.array_equal(a, b) for a, b in zip(originals, augmented, strict=True)]
    assert sum(changed) > len(changed) // 2
    assert draw(digits, config(**settings)) == draw(digits, config(**settings))


def test_mixup_is_seen_above_cutmix_if_both_are_on(digits: Data) -> None:
    originals, augmented = originals_and_augmented(digits, mixup=1.0, cutmix=1.0)
    known = {image.tobytes() for image in originals[..., 0]}
    # Each pixel of CutMix is one of the pixels of an original in its place; mixup blends two.
    taken = (augmented[:, None, ..., 0] == originals[None, ..., 0]).any(1).reshape(len(originals), -1).all(1)
    changed = [image.tobytes() not in known for image in augmented[..., 0]]
    assert not any(taken[i] for i in range(COLUMNS) if changed[i])
    assert all(taken[COLUMNS:])
    assert sum(changed[:COLUMNS]) > 2
    assert sum(changed[COLUMNS:]) > 2
    few = Data(
        digits.dataset,
        type(digits.train)(digits.train.images[:3], {"digit": digits.train.targets["digit"][:3]}),
        digits.validation,
        digits.test,
    )
    assert cells(draw(few, config(mixup=1.0, cutmix=1.0))).shape[:2] == (2, 3)


def test_a_dataset_smaller_than_a_sheet_is_drawn_as_far_as_it_goes(digits: Data) -> None:
    few = Data(
        digits.dataset,
        type(digits.train)(digits.train.images[:5], {"digit": digits.train.targets["digit"][:5]}),
        digits.validation,
        digits.test,
    )
    assert cells(draw(few, config(flip=True))).shape[:2] == (2, 5)


def test_colors_and_the_other_normalization_are_kept(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    names = ("class", "domain", "mobility", "size")
    training = Labeled(images, {name: torch.arange(40) % 10 for name in names})
    test = Labeled(images[:10].clone(), {name: torch.arange(10) for name in names})
    save_prepared(dataset("cifar10"), tmp_path, training, test)
    data = load("cifar10", ["class"], tmp_path, lambda sentence: None)
    shown = cells(draw(data, config(dataset="cifar10", targets=["class"], normalization="half")), side=32)
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[2], shown[3])
    first = order(1, 0, len(data.train), COLUMNS * ROWS, torch.device("cpu"))[0][0]
    assert np.array_equal(shown[0, 0, :, :, :3], data.train.images[first].permute(1, 2, 0).numpy())


def test_nothing_is_downloaded_for_a_picture(tmp_path: Path) -> None:
    answer = Sheets(tmp_path).answer(config(dataset="mnist", flip=True).model_dump())
    assert answer == {"reason": "augmented images are shown once a run has prepared mnist"}
    assert list(tmp_path.iterdir()) == []


def test_the_process_answers_line_by_line_and_ends_with_its_input(tmp_path: Path) -> None:
    own = make_own_dataset(tmp_path)
    questions = [config(flip=True).model_dump(), {"dataset": "digits"}, config(dataset="mnist").model_dump()]
    questions += [config(dataset=name, targets=["class"]).model_dump() for name in ("flowers@0123456789ab", "flowers")]
    said = subprocess.run(
        [sys.executable, "-m", "worker.data.augmented_batch", str(tmp_path)],
        input="".join(json.dumps(question) + "\n" for question in questions),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (said.returncode, said.stderr) == (0, "")
    drawn, fault, refused, flowers, newest = (json.loads(line) for line in said.stdout.splitlines())
    assert cells(base64.b64decode(drawn["png"])).shape[:2] == (2 * ROWS, COLUMNS)
    assert "ValidationError" in fault["fault"]
    assert "prepared" in refused["reason"]
    assert flowers == newest
    first = order(1, 0, len(own["train.images"]), COLUMNS * ROWS, torch.device("cpu"))[0][0]
    shown = cells(base64.b64decode(flowers["png"]))[0, 0, :, :, :3]
    assert np.array_equal(shown, own["train.images"][first].permute(1, 2, 0).numpy())

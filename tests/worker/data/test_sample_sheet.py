"""Pictures of a dataset's images: each shows the right images, as pixels, or says why there are none."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.contract.dataset_import import REQUEST, Choices, ImportRequest
from app.contract.datasets import DATASETS
from tests.worker.own_dataset import make_own_dataset
from worker.data.importing.job import run_import
from worker.data.sample_sheet import GAP, Sheets, sheet_png


def pixels(answer: dict[str, Any], count: int) -> list[Any]:
    """The images of a row, uint8 [H, W, 3], and that nothing else is in it."""
    assert "png" in answer, answer
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["png"]))))
    side = sheet.shape[0]
    assert sheet.shape[1] == count * (side + GAP) - GAP
    found = [sheet[:, place * (side + GAP) : place * (side + GAP) + side] for place in range(count)]
    assert all((image[..., 3] == 255).all() for image in found)
    return [image[..., :3] for image in found]


def photo(color: tuple[int, int, int]) -> bytes:
    """A PNG of 60 × 40: one color on the left, black on the right."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = color
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def datasets(tmp_path: Path) -> Iterator[Path]:
    """A folder of datasets, open."""
    DATASETS.open(tmp_path)
    yield tmp_path
    DATASETS.close()


def test_a_row_has_the_first_training_images_of_a_class(datasets: Path) -> None:
    tensors = make_own_dataset(datasets)
    answer = Sheets(datasets).answer({"dataset": "flowers@0123456789ab", "label": 2, "count": 4})
    expected = tensors["train.images"][tensors["train.class"] == 2][:4].permute(0, 2, 3, 1).numpy()
    assert [image.tolist() for image in pixels(answer, 4)] == expected.tolist()


def test_one_image_is_found_by_its_split_and_place(datasets: Path) -> None:
    tensors = make_own_dataset(datasets)
    question = {"dataset": "flowers@0123456789ab", "part": "test", "index": 29}
    (image,) = pixels(Sheets(datasets).answer(question), 1)
    assert image.tolist() == tensors["test.images"][29].permute(1, 2, 0).tolist()
    assert "missing" in Sheets(datasets).answer(question | {"index": 30})


def test_digits_are_shown_at_once_and_a_download_only_once_it_is_there(datasets: Path) -> None:
    (image,) = pixels(Sheets(datasets).answer({"dataset": "digits", "label": 0, "count": 1}), 1)
    assert image.shape == (28, 28, 3)
    assert (
        "once a run has prepared mnist"
        in Sheets(datasets).answer({"dataset": "mnist", "label": 0, "count": 1})["reason"]
    )


@pytest.fixture
def number(datasets: Path) -> str:
    """An import of red and blue photos that shows its preview, with a side of 32 pixels."""
    folder = datasets / "imports" / "i_1"
    folder.mkdir(parents=True)
    source = folder / "photos.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name, color in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
            for place in range(12):
                # Different pictures, or they would be copies of one.
                archive.writestr(f"photos/{name}/{place}.png", photo((color[0], place, color[2])))
    request = ImportRequest(
        id="i_1", name="photos", source=str(source), original=source.name, keep=False, choices=Choices(), created_at=1.0
    )
    (folder / REQUEST).write_text(request.model_dump_json())
    assert run_import(datasets, "i_1", processes=1).status == "preview"
    return "i_1"


def test_a_preview_shows_each_choice_at_once(datasets: Path, number: str) -> None:
    sheets = Sheets(datasets)

    def shown(**choices: Any) -> Any:
        question = {"import": number, "class": "red", "count": 2, "side": 28, "color": "rgb", "fit": "crop"}
        return pixels(sheets.answer(question | choices), 2)[0]

    assert shown(side=64).shape == (64, 64, 3)
    squashed, padded, gray = shown(fit="squash"), shown(fit="pad"), shown(color="gray")
    assert squashed[14, 6].tolist() == [200, 0, 0]
    assert squashed[14, 20].tolist() == [0, 0, 0]
    # 60 × 40 becomes 28 × 19, with bars above and below.
    assert padded[2, 6].tolist() == [0, 0, 0]
    assert padded[14, 6].tolist() == [200, 0, 0]
    assert gray[14, 6].tolist() == [60, 60, 60]


def test_a_preview_shows_what_was_read_and_says_what_is_missing(datasets: Path, number: str) -> None:
    sheets = Sheets(datasets)
    (image,) = pixels(sheets.answer({"import": number, "part": "train", "index": 0, "number": 0}), 1)
    assert image.shape[0] == image.shape[1]
    question = {"import": number, "count": 2, "side": 28, "color": "rgb", "fit": "crop"}
    assert "green has no images" in sheets.answer(question | {"class": "green"})["reason"]
    assert "no longer exist" in sheets.answer(question | {"import": "i_2", "class": "red"}).get("missing", "") or (
        "being read" in sheets.answer(question | {"import": "i_2", "class": "red"})["reason"]
    )


def test_the_process_answers_line_by_line_and_reports_a_fault(datasets: Path) -> None:
    make_own_dataset(datasets)
    asked = {"dataset": "flowers", "label": 0, "count": 1}
    questions = [asked, asked | {"dataset": "deleted"}, {"dataset": "flowers", "label": 0}]
    process = subprocess.run(
        [sys.executable, "-m", "worker.data.sample_sheet", str(datasets)],
        input="".join(json.dumps(question) + "\n" for question in questions),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    first, second, third = map(json.loads, process.stdout.splitlines())
    assert "png" in first
    assert second == {"missing": "these images no longer exist"}
    assert "KeyError" in third["fault"]


def test_many_images_are_one_picture_with_ten_in_a_row(datasets: Path) -> None:
    tensors = make_own_dataset(datasets)
    images = tensors["train.images"].permute(0, 2, 3, 1).numpy()
    indices = [7, 0, 3, 11, 5, 6, 1, 2, 4, 9, 8, 10]
    question = {"dataset": "flowers@0123456789ab", "part": "train", "indices": indices}
    answer = Sheets(datasets).answer(question)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["png"]))))
    side = images.shape[1]
    assert sheet.shape[:2] == (2 * side, 10 * side)
    for place, index in enumerate(indices):
        left, top = place % 10 * side, place // 10 * side
        found = sheet[top : top + side, left : left + side].reshape(side, side, -1)
        assert found.tolist() == images[index].tolist()
    assert Sheets(datasets).answer(question | {"indices": [0, 10**6]}) == {
        "missing": "there are 200 train images, the last one is 199"
    }


def test_large_images_are_small_in_a_sheet() -> None:
    chance = np.random.default_rng(0)
    color = [chance.integers(0, 256, (3, 200, 200), np.uint8)] * 2
    assert Image.open(io.BytesIO(sheet_png(color))).size == (960, 96)
    gray = Image.open(io.BytesIO(sheet_png([chance.integers(0, 256, (1, 128, 128), np.uint8)])))
    assert (gray.size, gray.mode) == ((960, 96), "L")

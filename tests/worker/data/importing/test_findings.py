"""The report says what was found, and the dataset's description agrees with it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from app.contract.dataset_import import SizeCount
from tests.worker.data.importing.making import Imports, encoded, pixels, png, put, two_classes


def test_an_image_in_train_and_test_is_reported(imports: Imports, tmp_path: Path) -> None:
    files = two_classes(20, 0, "train/") | two_classes(5, 500, "test/")
    files["test/cats/same.bmp"] = encoded(pixels(4), "bmp")
    files["test/dogs/other.png"] = png(6)
    report = imports.of(put(tmp_path / "pets", files)).report
    assert report.duplicates_across == 2
    first = report.duplicates[0]
    assert (first.across, first.labels_differ, first.count) == (True, True, 2)
    assert [(each.path, each.label) for each in first.images] == [
        ("train/cats/3.png", "cats"),
        ("test/dogs/other.png", "dogs"),
    ]
    assert report.duplicates[1].labels_differ is False
    assert report.leaks == ["2 images are in train and test: test accuracy will be too high"]
    assert "1 image is in several classes" in report.notes


def test_equal_images_stay_in_one_split(imports: Imports, tmp_path: Path) -> None:
    files = {f"{name}/{n}.png": png(n // 4 + 100 * place) for place, name in enumerate("ab") for n in range(80)}
    made = imports.of(put(tmp_path / "x", files))
    assert made.report.duplicates_across == 0
    assert made.report.duplicates_within == 120
    assert len(made.report.duplicates) == 40
    for name in "ab":
        for n in range(0, 80, 4):
            assert len({made.part(f"{name}/{n + k}.png") for k in range(4)}) == 1


def test_sizes_and_modes_are_counted(imports: Imports, tmp_path: Path) -> None:
    files = {f"a/{n}.png": encoded(pixels(n, 40, 30)) for n in range(6)}
    files |= {f"b/{n}.png": encoded(pixels(n, 50, 100)[..., 0]) for n in range(4)}
    made = imports.of(put(tmp_path / "x", files))
    report = made.report
    assert report.sizes == [SizeCount(width=30, height=40, images=6), SizeCount(width=100, height=50, images=4)]
    assert (report.smallest, report.largest) == (report.sizes[0], report.sizes[1])
    assert report.modes == {"L": 4, "RGB": 6}
    assert report.choices.side == 32  # for a median of 30
    assert report.choices.color == "rgb"


def test_images_without_color_make_a_gray_dataset(imports: Imports, tmp_path: Path) -> None:
    gray = pixels(1)[..., :1]
    files = {f"{name}/{n}.png": encoded((gray + n + 99 * (name == "a"))[..., 0]) for name in "ab" for n in range(10)}
    files["a/colored format.png"] = encoded(np.repeat(gray // 2, 3, 2))
    made = imports.of(put(tmp_path / "x", files))
    assert made.described.channels == 1
    assert (made.image("a/colored format.png") == gray[..., 0] // 2).all()


def test_mean_and_deviation_are_those_of_the_training_images(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "pets", two_classes()))
    images = made.tensors["train.images"] / 255
    assert np.allclose(made.described.mean, images.mean((0, 2, 3)), rtol=1e-12)
    assert np.allclose(made.described.std, images.std((0, 2, 3)), rtol=1e-9)


def test_the_deviation_of_images_of_one_color_is_one(imports: Imports, tmp_path: Path) -> None:
    flat = encoded(np.full((32, 32, 3), (9, 99, 199), np.uint8))
    files = {f"train/{name}/{n}.png": flat for name in "ab" for n in range(10)} | two_classes(5, 0, "val/")
    made = imports.of(put(tmp_path / "x", files | two_classes(5, 50, "test/")))
    assert made.described.std == (1.0, 1.0, 1.0)
    assert np.allclose(made.described.mean, np.array([9, 99, 199]) / 255)


def test_an_image_unlike_its_class_is_reported(imports: Imports, tmp_path: Path) -> None:
    files = {}
    for place, name in enumerate("ab"):
        for n in range(30):
            image = np.full((32, 32, 3), 60 + 100 * place, np.int64)
            image = image + np.random.RandomState(n + 50 * place).randint(-20, 20, image.shape)
            files[f"{name}/{n}.png"] = encoded(image.astype(np.uint8))
    files["a/odd.png"] = encoded(np.full((32, 32, 3), 250, np.uint8))
    report = imports.of(put(tmp_path / "x", files)).report
    assert report.outliers[0].image.path == "a/odd.png"
    assert report.outliers[0].distance > 2 * report.outliers[1].distance
    assert len(report.outliers) == 20


def test_small_and_unequal_classes_are_reported(imports: Imports, tmp_path: Path) -> None:
    files = {f"many/{n}.png": png(n) for n in range(50)} | {"one/1.png": png(90)}
    made = imports.of(put(tmp_path / "x", files))
    assert made.part("one/1.png") == "train"
    assert made.report.near_empty == ["one"]
    assert made.report.imbalance == 40
    assert {"class 'one' has no validation images", "class 'one' has no test images"} <= set(made.report.notes)


def test_the_order_of_images_is_that_of_their_paths(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "pets", two_classes()))
    for part in ("train", "validation", "test"):
        items = [item for item in made.items if item["split"] == part]
        assert [item["path"] for item in items] == sorted(item["path"] for item in items)
        assert [int(item["index"]) for item in items] == list(range(len(items)))


def test_the_description_has_the_size_and_checksum_of_what_it_describes(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "pets", two_classes()))
    files = sum((made.folder / name).stat().st_size for name in ("images.safetensors", "items.csv"))
    assert made.described.bytes == files
    assert len(made.described.source_sha256) == 64
    assert made.described.report == imports.report()
    assert sorted(os.listdir(made.folder)) == ["dataset.json", "images.safetensors", "items.csv"]

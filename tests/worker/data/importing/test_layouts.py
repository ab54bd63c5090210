"""Classes and splits are found in folders and tables."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.worker.data.importing.making import Imports, bomb, encoded, pixels, png, put, two_classes


def test_folders_are_classes(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "pets", two_classes()))
    assert made.described.classes == ("cats", "dogs")
    assert made.described.images == {"train": 16, "validation": 2, "test": 2}
    assert (made.image("dogs/3.png") == pixels(7).transpose(2, 0, 1)).all()
    assert {path: made.label(path) for path in made.paths} == {path: path.split("/")[0] for path in two_classes()}


@pytest.mark.parametrize("wrapping", ["", "a/", "a/b c/train/"])
def test_single_folders_around_the_classes_do_not_matter(imports: Imports, tmp_path: Path, wrapping: str) -> None:
    made = imports.of(put(tmp_path / "pets", two_classes(prefix=wrapping)))
    assert made.described.classes == ("cats", "dogs")
    assert made.report.split.startswith("split at random")


def test_numbers_in_class_names_are_sorted_by_value(imports: Imports, tmp_path: Path) -> None:
    files = {
        f"{name}/{n}.png": png(5 * place + n)
        for place, name in enumerate(("10", "2", "1", "a10", "a9"))
        for n in range(5)
    }
    assert imports.of(put(tmp_path / "x", files)).described.classes == ("1", "2", "10", "a9", "a10")


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("TRAIN", "dev", "eval"),
        ("w/train", "w/validation", "w/test"),
    ],
)
def test_folders_of_splits_are_kept(imports: Imports, tmp_path: Path, train: str, validation: str, test: str) -> None:
    files = two_classes(6, 0, f"{train}/") | two_classes(3, 100, f"{validation}/") | two_classes(2, 200, f"{test}/")
    made = imports.of(put(tmp_path / "pets", files))
    assert made.described.images == {"train": 12, "validation": 6, "test": 4}
    assert made.part(f"{validation}/cats/0.png") == "validation"
    assert made.report.split == "all splits come from the source"


def test_a_folder_within_every_split_does_not_matter(imports: Imports, tmp_path: Path) -> None:
    files = two_classes(12, 0, "train/images/") | two_classes(2, 200, "test/images/")
    assert imports.of(put(tmp_path / "pets", files)).described.classes == ("cats", "dogs")


def test_validation_is_taken_from_training_images_where_only_test_is_given(imports: Imports, tmp_path: Path) -> None:
    files = two_classes(20, 0, "train/") | two_classes(3, 200, "test/")
    made = imports.of(put(tmp_path / "pets", files), validation_share=0.25)
    assert made.described.images == {"train": 30, "validation": 10, "test": 6}
    assert all(path.startswith("train/") for path in made.paths_in("validation"))
    assert "validation split taken from the training images" in made.report.notes


def test_test_is_taken_from_training_images_where_only_validation_is_given(imports: Imports, tmp_path: Path) -> None:
    files = two_classes(20, 0, "train/") | two_classes(3, 200, "val/")
    made = imports.of(put(tmp_path / "pets", files), test_share=0.25)
    assert made.described.images == {"train": 30, "validation": 6, "test": 10}


def test_a_source_with_only_a_test_split_is_split_at_random(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "pets", two_classes(prefix="test/")))
    assert made.described.images == {"train": 16, "validation": 2, "test": 2}


def test_a_class_missing_in_a_split_does_not_shift_the_labels(imports: Imports, tmp_path: Path) -> None:
    files = {f"train/{name}/{n}.png": png(10 * place + n) for place, name in enumerate("abc") for n in range(10)}
    files |= {f"test/{name}/{n}.png": png(100 + 10 * place + n) for place, name in enumerate("acd") for n in range(2)}
    made = imports.of(put(tmp_path / "x", files))
    assert made.described.classes == ("a", "b", "c", "d")
    assert {made.label(path) for path in made.paths_in("test")} == {"a", "c", "d"}
    assert made.label("test/d/0.png") == "d"
    assert made.tensors["test.class"].tolist() == [0, 0, 2, 2, 3, 3]
    assert "class 'b' has no test images" in made.report.notes
    assert "class 'd' has no training images" in made.report.notes
    assert made.report.near_empty == ["a", "b", "c", "d"]


def test_unlabeled_test_images_are_left_out(imports: Imports, tmp_path: Path) -> None:
    files = two_classes(prefix="train/") | {f"test/{n}.png": png(300 + n) for n in range(3)}
    made = imports.of(put(tmp_path / "pets", files))
    assert made.described.images == {"train": 16, "validation": 2, "test": 2}
    assert made.report.skipped_kinds == {"unlabeled": 3}


def test_classes_named_like_splits_are_classes(imports: Imports, tmp_path: Path) -> None:
    files = {f"{name}/{n}.png": png(10 * place + n) for place, name in enumerate(("bus", "train")) for n in range(10)}
    assert imports.of(put(tmp_path / "x", files)).described.classes == ("bus", "train")


def test_deeper_folders_belong_to_their_class(imports: Imports, tmp_path: Path) -> None:
    files = {"cats/a/b/1.png": png(1), "cats/2.png": png(2), "cats/x/3.png": png(3)}
    files |= {f"dogs/{n}.png": png(10 + n) for n in range(5)}
    made = imports.of(put(tmp_path / "x", files))
    assert made.label("cats/a/b/1.png") == "cats"


def test_names_that_look_the_same_are_one_class(imports: Imports, tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    files = {f"train/{composed}/{n}.png": png(n) for n in range(12)} | {
        f"train/b/{n}.png": png(50 + n) for n in range(12)
    }
    files |= {f"test/{decomposed}/1.png": png(20), "test/b/1.png": png(21)}
    assert imports.of(put(tmp_path / "x", files)).described.classes == ("b", composed)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_whatever_cannot_be_used_is_reported_and_the_rest_is_imported(imports: Imports, tmp_path: Path) -> None:
    photo = encoded(pixels(900, 200, 200), "jpeg")
    odd = {
        "root.png": (png(901), "unlabeled"),
        "cats/.DS_Store": (b"x", "hidden"),
        "cats/._1.png": (png(902), "hidden"),
        "cats/Thumbs.db": (b"x", "hidden"),
        "dogs/desktop.ini": (b"x", "hidden"),
        "__MACOSX/cats/1.png": (png(903), "hidden"),
        "cats/empty.jpg": (b"", "empty"),
        "cats/text.jpg": (b"this is a text", "not an image"),
        "cats/notes.txt": (b"notes", "not an image"),
        "readme.md": (b"# Pets", "not an image"),
        "dogs/cut off.jpg": (photo[: len(photo) // 2], "unreadable"),
        "dogs/bomb.png": (bomb(), "too large"),
    }
    source = put(tmp_path / "pets", two_classes() | {name: content for name, (content, _) in odd.items()})
    made = imports.of(source)
    found = made.skipped()
    assert found.pop("__MACOSX/") == "hidden"
    assert found == {name: kind for name, (_, kind) in odd.items() if not name.startswith("__MACOSX")}
    assert made.described.classes == ("cats", "dogs")
    assert made.report.images == 20
    assert sum(made.report.skipped_kinds.values()) == len(odd)
    assert "at most" in made.skip("dogs/bomb.png").reason


def test_files_without_an_ending_may_be_images(imports: Imports, tmp_path: Path) -> None:
    source = put(tmp_path / "pets", two_classes() | {"cats/without": png(800), "cats/img.0001": png(801)})
    assert {"cats/without", "cats/img.0001"} <= imports.of(source).paths


def test_links_within_the_source_are_followed_and_others_are_not(imports: Imports, tmp_path: Path) -> None:
    source = put(tmp_path / "pets", two_classes())
    secret = put(tmp_path / "secret", {"1.png": png(700)})
    (source / "cats" / "inside.png").symlink_to(source / "dogs" / "1.png")
    (source / "cats" / "outside.png").symlink_to(secret / "1.png")
    (source / "cats" / "broken.png").symlink_to(source / "nothing")
    (source / "birds").symlink_to(secret)
    (source / "cats" / "loop").symlink_to(source / "cats")
    os.mkfifo(source / "dogs" / "pipe.png")
    made = imports.of(source)
    assert "cats/inside.png" in made.paths
    assert made.skipped() == {
        "cats/outside.png": "unsafe",
        "birds": "unsafe",
        "cats/loop/": "unsafe",
        "cats/broken.png": "unreadable",
        "dogs/pipe.png": "unsafe",
    }


def test_a_folder_that_may_not_be_opened_is_skipped(
    imports: Imports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put(tmp_path / "pets", two_classes() | {"birds/1.png": png(1)})
    real = os.scandir

    def scandir(folder: Any) -> Any:
        # Stands in for a folder without permissions, since root, who may run the tests, may open every folder.
        if folder == os.fsencode(source / "birds"):
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr("worker.data.importing.folder_files.os.scandir", scandir)
    assert imports.of(source).skipped() == {"birds/": "unreadable"}


def test_names_of_any_bytes_stay_distinct(imports: Imports, tmp_path: Path) -> None:
    source = put(
        tmp_path / "pets", two_classes() | {"猫/一.png": png(600), "猫/二.png": png(601), "cats/%s$.png": png(604)}
    )
    folder = os.fsencode(source) + b"/caf\xe9"
    os.mkdir(folder)
    for place, name in enumerate((b"\xfcber.png", b"\xe9t\xe9.png")):
        with open(folder + b"/" + name, "wb") as file:
            file.write(png(610 + place))
    made = imports.of(source)
    assert made.described.classes == ("café", "cats", "dogs", "猫")
    assert (made.image("café/über.png") == pixels(610).transpose(2, 0, 1)).all()
    assert (made.image("café/été.png") == pixels(611).transpose(2, 0, 1)).all()
    assert made.label("猫/二.png") == "猫"


def test_a_table_gives_classes_and_splits(imports: Imports, tmp_path: Path) -> None:
    files = {f"images/{n}.png": png(n) for n in range(24)}
    rows = [f"images/{n}.png,{'yes' if n % 2 else 'no'},{('Train', 'valid', 'TEST')[n // 8]}" for n in range(24)]
    table = "File,Class,Split\n" + "\n".join(rows) + "\n"
    made = imports.of(put(tmp_path / "x", files | {"labels.csv": table.encode()}))
    assert made.described.classes == ("no", "yes")
    assert made.described.images == {"train": 8, "validation": 8, "test": 8}
    assert made.label("images/3.png") == "yes"
    assert made.part("images/9.png") == "validation"
    assert made.report.layout == "classes and splits are read from labels.csv"


def _table(names: list[str], delimiter: str = ",") -> str:
    return "".join(f"{name}{delimiter}{'yes' if place % 2 else 'no'}\n" for place, name in enumerate(names))


@pytest.mark.parametrize(
    ("name", "delimiter", "encoding"), [("a.csv", ";", "utf-8-sig"), ("a.tsv", "\t", "utf-16"), ("a.csv", ",", "cp932")]
)
def test_tables_may_have_any_delimiter_and_encoding(
    imports: Imports, tmp_path: Path, name: str, delimiter: str, encoding: str
) -> None:
    names = [f"猫 {n}.png" for n in range(20)]
    table = f"label{delimiter}x\n".replace("label", f"path{delimiter}label")
    table += "".join(f'"{each}"{delimiter}{"犬" if n % 2 else "猫"}{delimiter}0\n' for n, each in enumerate(names))
    made = imports.of(
        put(tmp_path / "x", {each: png(n) for n, each in enumerate(names)} | {name: table.encode(encoding)})
    )
    assert made.described.classes == ("犬", "猫")
    assert made.label("猫 4.png") == "猫"


def test_a_table_beside_folders_wins(imports: Imports, tmp_path: Path) -> None:
    files = {f"w/images/{n}.png": png(n) for n in range(20)}
    table = "path,label\n" + _table([f"images\\{n}" for n in range(20)])
    made = imports.of(put(tmp_path / "x", files | {"w/labels.csv": table.encode()}))
    assert made.label("w/images/1.png") == "yes"


def test_a_table_for_each_split(imports: Imports, tmp_path: Path) -> None:
    files = {f"{n}.png": png(n) for n in range(30)}
    tables = {
        "train.csv": "image,target\n" + _table([f"{n}.png" for n in range(20)]),
        "test.csv": "image,target\n" + _table([f"{n}.png" for n in range(20, 30)]),
    }
    made = imports.of(put(tmp_path / "x", files | {name: table.encode() for name, table in tables.items()}))
    assert made.described.images == {"train": 18, "validation": 2, "test": 10}


def test_rows_that_cannot_be_used_are_reported(imports: Imports, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(999))
    files = {f"{n}.png": png(n) for n in range(22)}
    table = "path,label\n" + _table([f"{n}.png" for n in range(20)])
    table += f"../secret.png,yes\n{tmp_path}/secret.png,yes\nmissing.png,no\n20.png,\n0.png,yes\n1.png,yes\n"
    made = imports.of(put(tmp_path / "x", files | {"labels.csv": table.encode()}))
    assert made.skipped() == {
        "../secret.png": "unsafe",
        f"{tmp_path}/secret.png": "unsafe",
        "missing.png": "unreadable",
        "20.png": "unlabeled",
        "21.png": "unlabeled",
        "labels.csv": "not an image",
    }
    assert made.label("0.png") == "no"
    assert any("contradict the class" in note for note in made.report.notes)


def test_a_table_may_be_the_source(imports: Imports, tmp_path: Path) -> None:
    folder = put(tmp_path / "x", {f"images/{n}.png": png(n) for n in range(20)} | {"other.png": png(50)})
    (tmp_path / "secret.png").write_bytes(png(999))
    (folder / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    table = "path,label\n" + _table([f"images/{n}.png" for n in range(20)] + ["../secret.png", "images/link.png"])
    (folder / "labels.csv").write_text(table)
    made = imports.of(folder / "labels.csv")
    assert len(made.paths) == 20
    assert made.skipped() == {"../secret.png": "unsafe", "images/link.png": "unsafe"}


def test_a_table_without_usable_columns_fails_with_its_columns(imports: Imports, tmp_path: Path) -> None:
    source = put(tmp_path / "x", {"1.png": png(1), "labels.csv": b"name,kind\n1.png,cat\n"})
    reason = imports.fails(source)
    assert "labels.csv" in reason
    assert "name, kind" in reason


def test_a_table_of_something_else_beside_class_folders_does_no_harm(imports: Imports, tmp_path: Path) -> None:
    made = imports.of(put(tmp_path / "x", two_classes() | {"history.csv": b"day,weather\n1,fine\n"}))
    assert made.described.classes == ("cats", "dogs")

"""One source with everything odd that real folders contain: each file ends as it should, and the rest is imported."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.data.importing.making import Imported, Imports, bomb, encoded, pixels, png, put, two_classes

SIDE = 32
RED, BLUE = (255, 0, 0), (0, 0, 255)
HALVES = np.zeros((SIDE, SIDE, 3), np.uint8)
HALVES[:, : SIDE // 2], HALVES[:, SIDE // 2 :] = RED, BLUE
UPRIGHT = {1: (RED, BLUE), 2: (BLUE, RED), 3: (BLUE, RED), 4: (RED, BLUE)}
"""Colors left and right, by EXIF orientation; the orientations from 5 on turn them to top and bottom."""
LYING = {5: (RED, BLUE), 6: (RED, BLUE), 7: (BLUE, RED), 8: (BLUE, RED)}

SKIPPED = {
    "train/dogs/truncated.jpg": "unreadable",
    "train/dogs/zero.jpg": "empty",
    "train/dogs/text.jpg": "not an image",
    "train/dogs/bomb.png": "too large",
    "train/cats/.DS_Store": "hidden",
    "train/cats/Thumbs.db": "hidden",
}


def turned(orientation: int) -> bytes:
    """A photo that its EXIF data turns; its corner differs for each orientation, so that there are no duplicates."""
    exif = Image.Exif()
    exif[0x112] = orientation
    image = HALVES.copy()
    image[SIDE // 2, SIDE // 2] = 8 * orientation
    return encoded(image, "jpeg", exif=exif, quality=95)


def animation() -> bytes:
    """A GIF file of a red and a blue frame."""
    file = io.BytesIO()
    first, second = (Image.new("RGB", (SIDE, SIDE), color) for color in (RED, BLUE))
    first.save(file, "GIF", save_all=True, append_images=[second])
    return file.getvalue()


def files() -> dict[str, bytes]:
    """The files, by their paths in the source."""
    photo = encoded(pixels(900, 200, 200), "jpeg")
    clear = np.zeros((SIDE, SIDE, 2), np.uint8)
    return {
        **two_classes(10, prefix="train/"),
        **{f"train/ねこ/{number}.png": png(100 + number) for number in range(10)},
        **{f"test/cats/{number}.png": png(200 + number) for number in range(3)},
        **{f"test/extra/{number}.png": png(300 + number) for number in range(3)},
        "train/single/only.png": png(400),
        "train/cats/same.png": png(500),
        "test/cats/same again.png": png(500),
        "train/cats/16 bit.png": encoded(Image.fromarray(np.full((SIDE, SIDE), 0x8000, np.uint16)), "png"),
        "train/cats/gray and alpha.png": encoded(Image.fromarray(clear, "LA"), "png"),
        "train/cats/cmyk.jpg": encoded(Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "jpeg", quality=95),
        **{f"train/dogs/exif {number}.jpg": turned(number) for number in range(1, 9)},
        "train/dogs/animation.gif": animation(),
        "train/dogs/truncated.jpg": photo[: len(photo) // 2],
        "train/dogs/zero.jpg": b"",
        "train/dogs/text.jpg": b"this is a text",
        "train/dogs/bomb.png": bomb(),
        "train/cats/.DS_Store": b"x",
        "train/cats/Thumbs.db": b"x",
        "__MACOSX/train/cats/._1.png": png(600),
    }


def in_a_folder(path: Path) -> Path:
    """The files, one with a name in Latin-1, and a link out of the folder."""
    put(path, files())
    (path / "train" / "cats" / "link.png").symlink_to("/etc/passwd")
    Path(os.fsdecode(os.fsencode(path / "train" / "cats") + b"/caf\xe9.png")).write_bytes(png(700))
    return path


def in_a_zip_file(path: Path) -> Path:
    """The same in an archive, with paths that lead out of it and names that do not say their encoding."""
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, content in files().items():
            archive.writestr(name, content)
        link = zipfile.ZipInfo("train/cats/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("train/cats/caf1.png", png(700))
        for name in ("../out.png", "train/../../out.png", "/out.png"):
            archive.writestr(name, png(800))
    file = path.with_suffix(".zip")
    file.write_bytes(file.read_bytes().replace(b"caf1.png", b"caf\xe9.png"))
    return file


def color(made: Imported, path: str, y: int, x: int) -> tuple[int, ...]:
    """A pixel of an image, rounded: JPEG loses the last bits."""
    return tuple(round(int(value) / 85) * 85 for value in made.image(path)[:, y, x])


@pytest.mark.parametrize("source", [in_a_folder, in_a_zip_file])
def test_each_oddity_ends_as_it_should(imports: Imports, tmp_path: Path, source: Callable[[Path], Path]) -> None:
    made = imports.of(source(tmp_path / "odd"), side=SIDE)

    # Classes by name over all splits: one missing in test and one only in test shift nothing.
    assert made.described.classes == ("cats", "dogs", "extra", "single", "ねこ")
    latin = [path for path in made.paths if "caf" in path]
    assert len(latin) == 1
    expected = {path: path.split("/")[1] for path in made.paths}
    assert {path: made.label(path) for path in made.paths} == expected
    # All but the skipped ones and that in __MACOSX, and the one with a name in Latin-1.
    assert made.report.images == len(made.items) == len(files()) - len(SKIPPED) - 1 + 1
    assert {count.name: count.test for count in made.report.classes} == {
        "cats": 4,
        "dogs": 0,
        "extra": 3,
        "single": 0,
        "ねこ": 0,
    }
    notes = "; ".join(made.report.notes)
    assert "class 'extra' has no training images" in notes
    assert {"extra", "single"} <= set(made.report.near_empty)

    # Every image as a person sees it.
    assert (made.image("train/dogs/3.png") == pixels(7).transpose(2, 0, 1)).all()
    assert (made.image("train/ねこ/4.png") == pixels(104).transpose(2, 0, 1)).all()
    assert (made.image(latin[0]) == pixels(700).transpose(2, 0, 1)).all()
    assert set(made.image("train/cats/16 bit.png").flatten()) == {0x80}
    assert set(made.image("train/cats/gray and alpha.png").flatten()) == {255}
    assert color(made, "train/cats/cmyk.jpg", 5, 5) == RED
    assert color(made, "train/dogs/animation.gif", 5, 5) == RED
    for orientation, colors in UPRIGHT.items():
        shown = [color(made, f"train/dogs/exif {orientation}.jpg", 3, x) for x in (3, SIDE - 4)]
        assert shown == list(colors), orientation
    for orientation, colors in LYING.items():
        shown = [color(made, f"train/dogs/exif {orientation}.jpg", y, 3) for y in (3, SIDE - 4)]
        assert shown == list(colors), orientation

    # The leak, and what was skipped, with the reason.
    assert made.report.duplicates_across == 1
    assert [image.path for image in made.report.duplicates[0].images] == [
        "train/cats/same.png",
        "test/cats/same again.png",
    ]
    skipped = made.skipped()
    assert SKIPPED.items() <= skipped.items()
    assert skipped.pop("train/cats/link.png") == "unsafe"
    unsafe = sorted(path for path, kind in skipped.items() if kind == "unsafe")
    assert unsafe == (sorted(["../out.png", "train/../../out.png", "/out.png"]) if source is in_a_zip_file else [])
    assert all(each.reason for each in made.report.skipped)
    assert not (tmp_path / "out.png").exists()

"""Names of files: only those stay that lead nowhere else, and they stay as they are."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.errors import Invalid
from app.contract.run_files import MAX_PATH, SteppedImage, checked_path, kind_of, stepped_image, stepped_path, suffix_of

ROOT = "/store/run/files"
names = st.text(max_size=12) | st.sampled_from(["..", ".", "", "C:", "~", "\\", "..\\", "a/", "\0", "\u202e", "%2e%2e"])


@given(st.lists(names, min_size=1, max_size=6).map("/".join))
def test_a_path_that_is_accepted_stays_in_its_folder_and_is_not_changed(path: str) -> None:
    try:
        accepted = checked_path(path)
    except Invalid as error:
        sentence = error.message
    else:
        sentence = ""
    # It can be sent and printed, whatever the name was.
    assert sentence.isprintable()
    if sentence:
        return
    assert accepted == path
    inside = os.path.normpath(f"{ROOT}/{path}")
    assert inside == f"{ROOT}/{path}"
    assert not os.path.isabs(path)
    assert path.isprintable()
    assert "\\" not in path
    assert len(path) <= MAX_PATH
    assert path.encode()


@given(st.lists(st.from_regex(r"[\w.+%# -]{1,20}", fullmatch=True), min_size=1, max_size=5).map("/".join))
def test_usual_names_are_accepted(path: str) -> None:
    if not {"", ".", ".."} & set(path.split("/")) and path.isprintable():
        assert checked_path(path) == path


KEY = st.from_regex(r"[a-zA-Z0-9_\-. ]{1,10}(/[a-zA-Z0-9_\-. ]{1,10})?", fullmatch=True)


@given(KEY, st.integers(0, 10**9), st.integers(0, 10**13), st.uuids(), st.sampled_from("+%"), st.booleans())
def test_what_the_client_wrote_into_the_name_of_an_image_is_read_back(
    key: str, step: int, timestamp: int, uuid: object, sign: str, compressed: bool
) -> None:
    parts = [key.replace("/", "#" if sign == "%" else "~"), "step", str(step), "timestamp", str(timestamp), str(uuid)]
    path = "images/" + sign.join(parts + ["compressed"] * compressed) + (".webp" if compressed else ".png")
    assert stepped_image(path) == SteppedImage(key, step, timestamp, compressed)
    assert stepped_image(f"other/{path}") is None


@given(
    key=st.text(min_size=1, max_size=250),
    step=st.integers(-(2**63), 2**63 - 1),
    timestamp=st.integers(0, 10**13),
    suffix=st.sampled_from(["png", "jpg", "gif"]),
)
def test_an_image_of_any_key_gets_a_path_that_says_its_step(key: str, step: int, timestamp: int, suffix: str) -> None:
    path = stepped_path(key, step, timestamp, "0123456789abcdef", suffix)
    assert checked_path(path) == path
    found = stepped_image(path)
    assert found is not None
    assert (found.step, found.timestamp, found.compressed) == (step, timestamp, False)
    if re.fullmatch(r"[a-z0-9 /_.-]{1,100}", key):
        assert found.key == key


def test_a_path_of_an_image_keeps_folders_in_its_key() -> None:
    assert stepped_path("val/samples", 3, 5, "ab", "png") == "images/val~samples+step+3+timestamp+5+ab.png"
    assert stepped_image("images/val~samples+step+3+timestamp+5+ab.png") == SteppedImage("val/samples", 3, 5, False)


@pytest.mark.parametrize(
    "path",
    ["images/plain.png", "images/a+step+x+timestamp+1+ab.png", "images/a+step+1%timestamp%1%ab.png", "images/a/b.png"],
)
def test_other_images_are_not_by_step(path: str) -> None:
    assert stepped_image(path) is None


@pytest.mark.parametrize(
    ("path", "suffix", "kind"),
    [
        ("a/b.PNG", ".png", "image"),
        ("a.tar.gz", ".gz", "other"),
        ("a.b/c", "", "other"),
        (".svg", ".svg", "other"),
        ("a.flac", ".flac", "audio"),
        ("a.tsv", ".tsv", "csv"),
        ("a.html", ".html", "other"),
    ],
)
def test_the_suffix_says_what_a_file_is_shown_as(path: str, suffix: str, kind: str) -> None:
    assert (suffix_of(path), kind_of(path)) == (suffix, kind)

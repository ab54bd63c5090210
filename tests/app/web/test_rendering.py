"""How figures, times and addresses are written."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from app.contract.timestamps import iso
from app.web.formatting import colour, count, data_block, figure, metric_value, moment, octets, setting, short, span
from app.web.rendering import Templates, local_path
from app.web.run_selection import MOST_RUNS


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(421_834), "421,834"),
        (count(None), "–"),
        (short(182_000), "182 k"),
        (short(1_420_000), "1.42 M"),
        (short(999_600), "1 M"),
        (short(12.0), "12"),
        (short(math.nan), "–"),
        (metric_value("val/acc", 0.9831), "98.31 %"),
        (metric_value("val/loss", 0.05621), "0.05621"),
        (metric_value("val/acc", None), "–"),
        (figure(math.inf), "–"),
        (span(0.42), "0.4 s"),
        (span(59.6), "1 min"),
        (span(130), "2 min 10 s"),
        (span(3_660), "1 h 1 min"),
        (span(90_000), "1 d 1 h"),
        (span(-1), "–"),
        (octets(80 * 2**30), "80 GiB"),
        (octets(57_600_000, 1000), "57.6 MB"),
        (octets(0), "–"),
        (setting(1e-5), "1e-05"),
        (setting(True), "yes"),
        (setting(["a", "b"]), "a, b"),
        (iso(1_700_000_000.5), "2023-11-14T22:13:20.500Z"),
    ],
)
def test_a_value_is_written_for_people(written: str, expected: str) -> None:
    assert written == expected


def test_a_time_carries_its_iso_form_and_words_in_utc() -> None:
    words = moment(1_700_000_000.0)
    assert words == ('<time datetime="2023-11-14T22:13:20.000Z" data-shown="relative">2023-11-14 22:13 UTC</time>')


def test_as_many_runs_as_are_compared_at_once_can_be_told_apart() -> None:
    assert len({colour(number) for number in range(1, 57)}) == 56 >= MOST_RUNS
    assert colour(57) == colour(1) == "c1 d0"


@given(st.recursive(st.text() | st.none() | st.floats(allow_nan=False, allow_infinity=False), st.lists))
def test_json_for_scripts_can_be_read_and_ends_no_element(value: Any) -> None:
    block = data_block(value)
    assert not set("<>&") & set(block)
    assert json.loads(block) == value


def test_json_for_scripts_has_null_for_what_it_has_no_word_for() -> None:
    assert json.loads(data_block([0.1, math.nan, math.inf])) == [0.1, None, None]


@pytest.mark.parametrize("path", ["", "runs", "//x", "/\\x", "https://x/", "/a\r\nb", "/ä", "javascript:alert(1)"])
def test_only_an_address_of_this_server_is_gone_to(path: str) -> None:
    assert local_path(path, "/") == "/"


def test_an_address_of_this_server_is_kept() -> None:
    assert local_path("/runs?q=a", "/") == "/runs?q=a"


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        Templates().text("_compare_missing.html")

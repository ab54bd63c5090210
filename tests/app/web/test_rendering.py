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
from app.web.formatting import (
    color,
    count,
    data_block,
    format_bytes,
    format_duration,
    format_flops,
    format_number,
    format_setting,
    format_short,
    metric_value,
    padded,
    time_tag,
    upper_first,
)
from app.web.rendering import Templates, local_path
from app.web.run_selection import MOST_RUNS


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(421_834), "421,834"),
        (count(None), "–"),
        (format_short(182_000), "182k"),
        (format_short(1_420_000), "1.42M"),
        (format_short(999_600), "1M"),
        (format_short(12.0), "12"),
        (format_short(math.nan), "–"),
        (format_flops(8_320_000), "8.32 MFLOPs"),
        (format_flops(320), "320 FLOPs"),
        (metric_value("val/acc", 0.9831), "98.31%"),
        (metric_value("val/macro_acc", 0.9831), "98.31%"),
        (metric_value("test/fine/top5", 0.5), "50.00%"),
        (metric_value("val/f1", 0.98312), "0.9831"),
        (metric_value("val/loss", 0.05621), "0.05621"),
        (metric_value("val/acc", None), "–"),
        (format_number(math.inf), "–"),
        (format_duration(0.42), "0.4 s"),
        (format_duration(59.6), "1 min"),
        (format_duration(130), "2 min 10 s"),
        (format_duration(3_660), "1 h 1 min"),
        (format_duration(7_200), "2 h"),
        (format_duration(90_000), "1 d 1 h"),
        (format_duration(172_800), "2 d"),
        (format_duration(-1), "–"),
        (format_bytes(80 * 2**30), "80 GiB"),
        (format_bytes(57_600_000, 1000), "57.6 MB"),
        (format_bytes(0), "–"),
        (format_setting(1e-5), "1e-05"),
        (format_setting(True), "yes"),
        (format_setting(["a", "b"]), "a, b"),
        (iso(1_700_000_000.5), "2023-11-14T22:13:20.500Z"),
    ],
)
def test_a_value_is_written_for_people(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(
    ("text", "longest", "expected"),
    [("7", "130", "7\u2007\u2007"), ("130", "130", "130"), ("950", "1,200", "950\u2007\u2008"), ("12", "", "12")],
)
def test_a_padded_count_is_as_wide_as_the_longest(text: str, longest: str, expected: str) -> None:
    assert padded(text, longest) == expected


def test_only_the_first_letter_is_capitalized() -> None:
    assert upper_first("needs worker GPU-Box") == "Needs worker GPU-Box"
    assert upper_first("") == ""


def test_a_time_carries_its_iso_form_and_words_in_utc() -> None:
    words = time_tag(1_700_000_000.0)
    assert words == ('<time datetime="2023-11-14T22:13:20.000Z" data-shown="relative">2023-11-14 22:13 UTC</time>')


def test_as_many_runs_as_are_compared_at_once_can_be_with_distinct_names() -> None:
    assert len({color(number) for number in range(1, 57)}) == 56 >= MOST_RUNS
    assert color(57) == color(1) == "c1 d0"


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

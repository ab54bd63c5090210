"""Images, histograms and texts in event files, as both versions of TensorBoard write them."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.histogram import checked_histogram
from app.formats.event_encoding import encode, encode_varint
from app.formats.summary_values import (
    MAX_IMAGES,
    MAX_TEXT,
    MOST_KINDS,
    EventMetadata,
    HistogramValue,
    ImageValue,
    Scalar,
    TextValue,
    Value,
)
from app.formats.tfevents import EventReader, read_values, write_events
from tests.app.formats.test_tfevents import event, field, value

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def read(data: bytes, metadata: EventMetadata | None = None) -> list[Value]:
    return list(read_values(io.BytesIO(data), metadata or EventMetadata()))


def doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


def tensor(kind: int, rest: bytes) -> bytes:
    return field(8, encode(1, 0, encode_varint(kind)) + rest)


tags = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
steps = st.integers(-(2**63), 2**63 - 1)
times = st.floats(0, 4e9)
histograms = st.lists(st.tuples(st.floats(-1e9, 1e9), st.integers(1, 10**6)), min_size=1, max_size=40).map(
    lambda rows: checked_histogram(sorted([edge for edge, _ in rows] + [1e9]), [float(count) for _, count in rows])
)
any_values = st.lists(
    st.builds(Scalar, tags, steps, st.floats(width=32, allow_nan=False), times)
    | st.builds(ImageValue, tags, steps, st.binary(max_size=50).map(PNG.__add__), st.just("png"), times)
    | st.builds(HistogramValue, tags, steps, histograms, times)
    | st.builds(
        TextValue,
        tags.filter(lambda tag: not tag.endswith("/text_summary")),
        steps,
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80),
        times,
    ),
    max_size=12,
)


def of_one_kind(values: list[Value]) -> list[Value]:
    """The values with names by their kinds."""
    return [replace(each, tag=f"{type(each).__name__}/{each.tag}") for each in values]


@given(any_values)
def test_what_is_written_is_read_again(values: list[Value]) -> None:
    metadata = EventMetadata()
    named = of_one_kind(values)
    assert read(b"".join(write_events(named, 1.7e9)), metadata) == named
    assert (metadata.damaged, metadata.not_kept) == (0, {})


@given(any_values, st.lists(st.integers(0, 2000), max_size=8))
def test_a_file_that_is_read_while_it_grows_gives_each_value_once(values: list[Value], cuts: list[int]) -> None:
    named = of_one_kind(values)
    whole = b"".join(write_events(named, 1.7e9))
    reader, found = EventReader(EventMetadata()), []
    for cut in [*sorted(cuts), len(whole)]:
        for part in reader.read(io.BytesIO(whole[:cut]), growing=True):
            found += part
        assert reader.damaged == 0
    assert found == named


def test_a_record_is_waited_for_at_each_of_its_bytes() -> None:
    values: list[Value] = [
        TextValue("a", 1, "x" * 300, 0.0),
        HistogramValue("h", 2, checked_histogram([0, 1, 2], [3, 4]), 0.0),
    ]
    version, *records = write_events(values, 0.0)
    before = len(version)
    for record, expected in zip(records, values, strict=True):
        whole = b"".join([version, *records])[: before + len(record)]
        for cut in range(before, len(whole)):
            reader = EventReader(EventMetadata())
            reader.reading.position = before
            assert list(reader.read(io.BytesIO(whole[:cut]), growing=True)) == []
            assert reader.reading.needed in (0, len(whole))
            assert list(reader.read(io.BytesIO(whole), growing=True)) == [[expected]]
        before = len(whole)


def test_a_damaged_record_at_the_end_of_a_growing_file_is_read_when_it_is_whole() -> None:
    version, first, second = write_events([Scalar("a", 1, 1.0, 0.0), Scalar("a", 2, 2.0, 0.0)], 0.0)
    reader = EventReader(EventMetadata())
    # The size of a file may be there before its bytes.
    seen = list(reader.read(io.BytesIO(version + first + second[:-9] + bytes(9)), growing=True))
    assert [each.step for part in seen for each in part] == [1]
    assert reader.damaged == 1
    assert [each.step for part in reader.read(io.BytesIO(version + first + second), growing=True) for each in part] == [
        2
    ]
    assert reader.damaged == 0


def test_a_damaged_record_inside_a_growing_file_is_passed_once() -> None:
    version, first, second, third = write_events([Scalar("a", step, 1.0, 0.0) for step in range(3)], 0.0)
    damaged = second[:20] + bytes([second[20] ^ 1]) + second[21:]
    reader = EventReader(EventMetadata())
    data = b""
    for part in (version, first, damaged, third, first):
        data += part
        list(reader.read(io.BytesIO(data), growing=True))
    assert (reader.damaged, reader.reading.records) == (1, 4)


def test_a_histogram_of_the_first_version_has_its_ends_at_the_lowest_and_highest_value() -> None:
    numbers = encode(1, 1, doubles(-2.0)) + encode(2, 1, doubles(5.0)) + encode(3, 1, doubles(6.0))
    buckets = encode(6, 2, doubles(-3.0, 0.0, 1.0, 1.7e308)) + encode(7, 2, doubles(0.0, 2.0, 1.0, 3.0))
    (found,) = read(event(value("w", field(5, numbers + buckets)), 7))
    assert isinstance(found, HistogramValue)
    assert (found.tag, found.step) == ("w", 7)
    assert (found.histogram.edges, found.histogram.counts) == ((-2.0, 0.0, 1.0, 5.0), (2.0, 1.0, 3.0))


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        (2, encode(4, 2, doubles(0, 1, 5, 1, 3, 2))),
        (2, encode(6, 2, doubles(0, 1, 5, 1, 3, 2))),
        (2, b"".join(encode(6, 1, doubles(number)) for number in (0, 1, 5, 1, 3, 2))),
        (1, encode(4, 2, struct.pack("<6f", 0, 1, 5, 1, 3, 2))),
        (1, encode(5, 2, struct.pack("<6f", 0, 1, 5, 1, 3, 2))),
    ],
)
def test_a_histogram_of_the_second_version_is_a_tensor_of_three_columns(kind: int, rest: bytes) -> None:
    metadata = EventMetadata()
    data = event(value("w", tensor(kind, rest), "histograms")) + event(value("w", tensor(kind, rest)), 2)
    for found in read(data, metadata):
        assert isinstance(found, HistogramValue)
        assert (found.histogram.edges, found.histogram.counts) == ((0.0, 1.0, 3.0), (5.0, 2.0))
    assert metadata.not_kept == {}


def test_images_of_both_versions_are_read_with_their_format() -> None:
    jpeg, gif = b"\xff\xd8\xff\xe0" + bytes(9), b"GIF89a" + bytes(9)
    size = b"".join(field(8, number) for number in (b"32", b"24"))
    data = event(value("a", field(4, encode(1, 0, b"\x20") + field(4, jpeg))), 3)
    data += event(value("one", tensor(7, size + field(8, PNG)), "images"), 4)
    data += event(value("two", tensor(7, size + field(8, PNG) + field(8, gif)), "images"), 5)
    assert read(data) == [
        ImageValue("a", 3, jpeg, "jpg", 1.0),
        ImageValue("one", 4, PNG, "png", 1.0),
        ImageValue("two/0", 5, PNG, "png", 1.0),
        ImageValue("two/1", 5, gif, "gif", 1.0),
    ]


def test_texts_are_read_whatever_is_in_them() -> None:
    data = event(value("note/text_summary", tensor(7, field(8, "größer\0".encode())), "text"), 1)
    data += event(value("table", tensor(7, field(8, b"a") + field(8, b"\xff<b>")), "text"), 2)
    assert read(data) == [TextValue("note", 1, "größer\ufffd", 1.0), TextValue("table", 2, "a\n\n\ufffd<b>", 1.0)]


def test_what_is_left_out_is_counted_by_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.formats.summary_values.MAX_IMAGE_BYTES", 2**20)
    bitmap, large = field(8, b"BM" + bytes(30)), field(8, PNG + bytes(2**20))
    size = field(8, b"1") + field(8, b"1")
    unordered = encode(6, 2, doubles(3.0, 1.0)) + encode(7, 2, doubles(1.0, 1.0)) + encode(1, 1, doubles(9.0))
    data = event(
        value("sound", field(6, b""))
        + value("curve", tensor(2, b""), "pr_curves")
        + value("plain", tensor(2, b""))
        + value("bitmap", tensor(7, size + bitmap), "images")
        + value("large", tensor(7, size + large), "images")
        + value("many", tensor(7, size + field(8, PNG) * (MAX_IMAGES + 2)), "images")
        + value("long", tensor(7, field(8, b"x" * (MAX_TEXT + 1))), "text")
        + value("unordered", field(5, unordered))
        + value("none", field(5, b""))
    )
    metadata = EventMetadata()
    assert len(read(data, metadata)) == MAX_IMAGES
    assert metadata.not_kept == {
        "audio": 1,
        "pr curves": 1,
        "tensors": 1,
        "images that are not PNG, JPEG or GIF": 1,
        "images of more than 1 MiB": 1,
        f"images beyond {MAX_IMAGES} of a step": 2,
        f"texts of more than {MAX_TEXT:,} characters": 1,
        "invalid histograms": 1,
        "histograms without buckets": 1,
    }


def test_only_so_many_kinds_are_counted_by_name() -> None:
    metadata = EventMetadata()
    read(event(b"".join(value(str(i), tensor(2, b""), f"plugin{i}") for i in range(50))), metadata)
    assert len(metadata.not_kept) == MOST_KINDS + 1
    assert metadata.not_kept["other"] == 50 - MOST_KINDS


def test_a_value_that_cannot_be_read_costs_no_other_value_of_its_event() -> None:
    metadata = EventMetadata()
    broken = value("h", field(5, encode(6, 2, bytes(7))))
    good = value("a", encode(2, 5, struct.pack("<f", 2.0)))
    assert read(event(good + broken + good), metadata) == [Scalar("a", 0, 2.0, 1.0)] * 2
    assert metadata.damaged == 1


@given(st.binary(max_size=80), st.sampled_from(["images", "histograms", "text", "scalars", "other"]))
def test_no_bytes_bring_the_reader_down(body: bytes, plugin: str) -> None:
    for number in (4, 5, 8):
        for found in read(event(value("a", field(number, body), plugin))):
            assert found.tag.startswith("a")
            if isinstance(found, HistogramValue):
                assert math.isfinite(found.histogram.total)

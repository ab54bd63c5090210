"""Reader and writer of TensorBoard event files."""

from __future__ import annotations

import io
import math
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.formats.event_encoding import BrokenFile, Reading, read_records, record
from app.formats.summary_values import EventMetadata, Scalar
from app.formats.tfevents import read_scalars, write_events


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def event(summary: bytes, step: int = 0, time: float = 1.0) -> bytes:
    return record(b"\x09" + struct.pack("<d", time) + b"\x10" + varint(step) + field(5, summary))


def value(tag: str, rest: bytes, plugin: str = "", content: bytes = b"") -> bytes:
    plugin_data = field(9, field(1, field(1, plugin.encode()) + field(2, content))) if plugin else b""
    return field(1, field(1, tag.encode()) + rest + plugin_data)


def read(data: bytes, metadata: EventMetadata | None = None) -> list[Scalar]:
    return list(read_scalars(io.BytesIO(data), metadata or EventMetadata()))


def test_what_is_written_is_read_again() -> None:
    points = [Scalar("loss", step, value, 1.7e9 + step) for step, value in enumerate([1.5, math.inf, -0.25, 2.0**120])]
    points += [Scalar("größe/x", step, 0.0, 1.7e9) for step in (2**32, -1, -(2**63), 2**63 - 1)]
    assert read(b"".join(write_events(points, 1.7e9))) == points
    (nan,) = read(b"".join(write_events([Scalar("a", 1, math.nan, 0.0)], 0.0)))
    assert math.isnan(nan.value)
    (large,) = read(b"".join(write_events([Scalar("a", 1, 1e300, 0.0)], 0.0)))
    assert large.value == math.inf


def test_a_file_begins_with_its_version() -> None:
    first = next(read_records(io.BytesIO(b"".join(write_events([], 5.0))), Reading()))
    assert first.endswith(b"brain.Event:2")


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        (1, field(4, struct.pack("<f", 0.5))),
        (2, field(4, struct.pack("<d", 0.5))),
        (19, field(4, struct.pack("<e", 0.5))),
        (1, b"\x2d" + struct.pack("<f", 0.5)),
        (1, field(5, struct.pack("<f", 0.5))),
        (2, field(6, struct.pack("<d", 0.5))),
    ],
)
def test_a_scalar_can_be_a_tensor(kind: int, rest: bytes) -> None:
    tensor = field(8, b"\x08" + varint(kind) + rest)
    metadata = EventMetadata()
    first = event(value("acc", tensor, "scalars"), 1)
    # Only the first value of a tag names the plugin.
    assert [each.value for each in read(first + event(value("acc", tensor), 2), metadata)] == [0.5, 0.5]


def test_whole_numbers_in_tensors_are_read() -> None:
    for number, kind, said in ((7, 3, -3), (10, 9, 12)):
        tensor = field(8, b"\x08" + varint(kind) + varint(number << 3) + varint(said % 2**64))
        assert read(event(value("n", tensor, "scalars")))[0].value == said


def test_what_is_no_scalar_is_passed_over() -> None:
    image, text = value("image", field(4, b"png")), value("text", field(8, b"\x08\x07"), "text")
    assert read(event(image + text + value("a", b"\x15" + struct.pack("<f", 2.0)))) == [Scalar("a", 0, 2.0, 1.0)]


def test_hyperparameters_and_the_end_of_a_session_are_heard() -> None:
    entries = b"".join(
        field(1, field(1, name) + field(2, said))
        for name, said in (
            (b"lr", b"\x11" + struct.pack("<d", 0.001)),
            (b"layers", b"\x11" + struct.pack("<d", 3.0)),
            (b"opt", field(3, b"lion")),
            (b"bias", b"\x20\x01"),
        )
    )
    metadata = EventMetadata()
    begun = value("_hparams_/session_start_info", b"", "hparams", field(3, entries))
    ended = value("_hparams_/session_end_info", b"", "hparams", field(4, b"\x08\x01"))
    assert read(event(begun) + event(ended), metadata) == []
    assert metadata.parameters == {"lr": "0.001", "layers": "3", "opt": "lion", "bias": "true"}
    assert metadata.outcome == "succeeded"


def test_a_record_that_is_only_half_there_ends_a_file() -> None:
    whole = b"".join(write_events([Scalar("a", step, 1.0, 0.0) for step in range(3)], 0.0))
    for cut in range(1, 20):
        assert len(read(whole[:-cut])) == 2


def test_a_file_that_was_cut_off_goes_on_where_it_ended() -> None:
    points = [Scalar("a", step, 1.0, 0.0) for step in range(3)]
    whole = b"".join(write_events(points, 0.0))
    for size in range(len(whole)):
        metadata = EventMetadata()
        assert read(whole[:size], metadata) == points[: len(read(whole[:size]))]
        assert metadata.damaged == 0


POINTS = [Scalar("a", step, float(step), 1.7e9) for step in range(-2, 6)]


@given(data=st.data(), mask=st.integers(1, 255))
def test_a_damaged_byte_costs_only_the_record_that_it_hits(data: st.DataObject, mask: int) -> None:
    records = list(write_events(POINTS, 0.0))
    hit = data.draw(st.integers(0, len(records) - 1))
    damaged = bytearray(records[hit])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= mask
    metadata = EventMetadata()
    found = read(b"".join([*records[:hit], damaged, *records[hit + 1 :]]), metadata)
    # The first record has the version.
    assert found == [point for i, point in enumerate(POINTS, 1) if i != hit]
    assert metadata.damaged == 1


@given(cut=st.tuples(st.integers(0, 400), st.integers(0, 60)), junk=st.binary(max_size=40))
def test_lost_bytes_cost_only_the_records_that_they_touch(cut: tuple[int, int], junk: bytes) -> None:
    records = list(write_events(POINTS, 0.0))
    whole = b"".join(records)
    first, last = min(cut[0], len(whole)), min(sum(cut), len(whole))
    try:
        found = read(whole[:first] + junk + whole[last:])
    except BrokenFile:
        found = []
    begins = np.cumsum([0, *map(len, records)])
    untouched = [point for i, point in enumerate(POINTS, 1) if begins[i + 1] <= first or begins[i] >= last]
    assert [point for point in found if point in untouched] == untouched
    assert [point for point in POINTS if point in found] == found


def test_a_valid_record_that_is_no_event_is_skipped_and_counted() -> None:
    first, *others = write_events(POINTS, 0.0)
    metadata = EventMetadata()
    assert read(b"".join([first, record(b"\xff\xff"), *others]), metadata) == POINTS
    assert metadata.damaged == 1


def test_the_next_record_is_found_behind_much_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.formats.event_encoding.SEARCHED_BYTES", 64)
    for junk in (bytes(500), b"\1" + bytes(500), bytes(range(256)) * 2):
        metadata = EventMetadata()
        first, *others = write_events(POINTS, 0.0)
        assert read(first + junk + b"".join(others), metadata) == POINTS
        assert metadata.damaged >= 1


def test_a_file_of_something_else_is_refused() -> None:
    with pytest.raises(BrokenFile, match="not an event file"):
        read(b"a text file, not one of events")


@example(b"\x05")
@given(st.binary(max_size=80))
def test_no_bytes_bring_the_reader_down(body: bytes) -> None:
    for data in (body, record(body), event(body), event(field(1, body)), event(value("a", body, "scalars"))):
        try:
            read(data)
        except BrokenFile:
            continue

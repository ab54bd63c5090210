"""The checksum of records in event files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.formats.crc32c import _TABLE, BLOCK, crc32c, masked_crc


def test_checksums_are_those_of_the_published_vectors() -> None:
    # RFC 3720, B.4.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert masked_crc(b"") == 0xA282EAD8


@given(
    seed=st.binary(min_size=1, max_size=50),
    size=st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7, 5 * BLOCK]),
)
def test_the_sum_of_many_lanes_is_that_of_byte_by_byte(seed: bytes, size: int) -> None:
    data = (seed * (size // len(seed) + 1))[:size]
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    assert crc32c(data) == crc ^ 0xFFFFFFFF

"""CRC-32C, the checksum of records in event files: Castagnoli's polynomial in reversed bit order.

Short messages, which scalars are, are summed byte by byte. Long ones, which images are, are cut into blocks of many
lanes, which numpy sums at the same time. The sums of neighboring lanes are then joined: the left one is moved past the
bytes of the right one, which is linear, so a table for each of its four bytes suffices.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Sums = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
LANES, LANE_BYTES = 1024, 64
BLOCK: Final = LANES * LANE_BYTES


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Compute the CRC-32C of bytes."""
    crc, blocks = 0xFFFFFFFF, len(data) // BLOCK
    for block in range(blocks):
        crc = _add_block(crc, data, block * BLOCK)
    table = _TABLE
    for byte in data[blocks * BLOCK :]:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """Compute the masked checksum that event files use."""
    crc = crc32c(data)
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF


def _add_block(crc: int, data: bytes, offset: int) -> int:
    """The sum after a block of bytes."""
    import numpy as np

    table = _arrays()
    lanes = np.frombuffer(data, np.uint8, BLOCK, offset).reshape(LANES, LANE_BYTES)
    sums = np.zeros(LANES, np.uint32)
    sums[0] = crc
    for column in np.ascontiguousarray(lanes.T):
        sums = (sums >> np.uint32(8)) ^ table[(sums ^ column) & np.uint32(255)]
    for level in range(LANES.bit_length() - 1):
        sums = _moved(sums[0::2], level) ^ sums[1::2]
    return int(sums[0])


@cache
def _arrays() -> Sums:
    import numpy as np

    return np.array(_TABLE, np.uint32)


def _moved(sums: Sums, level: int) -> Sums:
    """Sums moved past the bytes of 2 ** ``level`` lanes, as if these were zeros."""
    import numpy as np

    moved = np.zeros_like(sums)
    for byte, table in enumerate(_move_tables(level)):
        moved ^= table[(sums >> np.uint32(8 * byte)) & np.uint32(255)]
    return moved


@cache
def _move_tables(level: int) -> tuple[Sums, ...]:
    """For each of the four bytes of a sum, where each of its values is moved to."""
    import numpy as np

    values = np.arange(256, dtype=np.uint32)
    tables = []
    for byte in range(4):
        sums = values << np.uint32(8 * byte)
        if level == 0:
            for _ in range(LANE_BYTES):
                sums = (sums >> np.uint32(8)) ^ _arrays()[sums & np.uint32(255)]
        else:
            sums = _moved(_moved(sums, level - 1), level - 1)
        tables.append(sums)
    return tuple(tables)

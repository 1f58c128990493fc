"""What the options come to."""

from __future__ import annotations

import pytest

from proxy.journal.frames import FRAME_BYTES_MAX
from proxy.journal.options import SEGMENT_BYTES_MIN
from tests.support.journals import journal_options

MIB = 2**20


@pytest.mark.parametrize(
    ("segment_bytes", "size_max_bytes", "used"),
    [
        (16 * MIB, 10 * 1024 * MIB, 16 * MIB),
        (16 * MIB, 64 * MIB, 16 * MIB),
        (16 * MIB, 32 * MIB, 8 * MIB),  # four fit in the bound
        (MIB, 32 * MIB, MIB),
        (1, 32 * MIB, SEGMENT_BYTES_MIN),
        (16 * MIB, 1, SEGMENT_BYTES_MIN),
    ],
)
def test_a_small_journal_gets_small_segments(
    segment_bytes: int, size_max_bytes: int, used: int
) -> None:
    assert (
        journal_options(
            segment_bytes=segment_bytes, size_max_bytes=size_max_bytes
        ).segment_bytes_used
        == used
    )


def test_the_smallest_segment_takes_more_than_its_own_waste() -> None:
    """Its end may leave a whole frame's room unused, and it begins with a start frame."""
    assert SEGMENT_BYTES_MIN >= 4 * FRAME_BYTES_MAX

"""Identifiers of exchanges: UUIDv7 (RFC 9562), never taken from a client or a vendor."""

from __future__ import annotations

RANDOM_BYTES = 10  # 80 bits, of which a UUIDv7 has room for 74


def uuid7(now_ms: int, random_bits: bytes) -> str:
    """The canonical text of a UUIDv7.

    `now_ms` (Unix milliseconds) stands in front, so that ids sort by time. `random_bits` are
    RANDOM_BYTES bytes.
    """
    assert len(random_bits) == RANDOM_BYTES, (
        f"a UUIDv7 needs {RANDOM_BYTES} random bytes, got {len(random_bits)}"
    )
    assert 0 <= now_ms < 1 << 48, "Unix milliseconds fit into 48 bits until the year 10889"
    noise = int.from_bytes(random_bits, "big")
    high = noise >> 62 & 0xFFF
    low = noise & (1 << 62) - 1
    digits = f"{now_ms << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

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
    # Digits that need no arithmetic are taken as they are: it halves the time.
    time, noise = now_ms.to_bytes(6, "big").hex(), random_bits.hex()
    high = int(noise[1:5], 16) >> 2 & 0xFFF
    variant = "89ab"[random_bits[2] >> 4 & 3]
    return f"{time[:8]}-{time[8:]}-7{high:03x}-{variant}{noise[5:8]}-{noise[8:]}"

"""Identifiers of exchanges: UUIDv7 (RFC 9562), never taken from a client or a vendor."""

from __future__ import annotations

RANDOM_BYTES = 10  # 80 bits, of which a UUIDv7 has room for 74
# The digit of the variant, by a random one of which two bits count.
_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def uuid7(now_ms: int, random_bits: bytes) -> str:
    """The canonical text of a UUIDv7.

    `now_ms` (Unix milliseconds) stands in front, so that ids sort by time. `random_bits` are
    RANDOM_BYTES bytes.
    """
    assert len(random_bits) == RANDOM_BYTES, (
        f"a UUIDv7 needs {RANDOM_BYTES} random bytes, got {len(random_bits)}"
    )
    assert 0 <= now_ms < 1 << 48, "Unix milliseconds fit into 48 bits until the year 10889"
    digits = now_ms.to_bytes(6, "big").hex() + random_bits.hex()
    # Six of the random bits make room for version and variant. Nothing is worked out in numbers.
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[12:15]}-{variant}{digits[17:20]}-{digits[20:]}"


def made_at_ms(id: str) -> int:
    """When an id of `uuid7` was made, in Unix milliseconds."""
    return int(id[:8] + id[9:13], 16)

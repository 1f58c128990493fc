"""Ids are UUIDv7 by the standard library's reading."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.ids import RANDOM_BYTES, made_at_ms, uuid7


@given(st.integers(0, 2**48 - 1), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_an_id_is_a_uuid_of_version_7_that_sorts_by_time(now_ms: int, random_bits: bytes) -> None:
    text = uuid7(now_ms, random_bits)
    parsed = uuid.UUID(text)
    assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_ms == made_at_ms(text)
    if now_ms:
        assert uuid7(now_ms - 1, b"\xff" * RANDOM_BYTES) < text


def test_each_of_74_random_bits_counts() -> None:
    none = uuid7(5, bytes(RANDOM_BYTES))
    ids = [uuid7(5, (1 << bit).to_bytes(RANDOM_BYTES, "big")) for bit in range(80)]
    assert len({id for id in ids if id != none}) == 74


def test_too_little_randomness_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="random bytes"):
        uuid7(5, b"short")

"""The text of keys: whole, with check characters that notice a typo."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tenants.key import check, make_key


@given(st.binary(min_size=32, max_size=64))
def test_keys_of_ours_are_whole(random_bytes: bytes) -> None:
    key = make_key(random_bytes)
    assert re.fullmatch(r"sk-tk-[0-9A-Za-z]{36}", key)
    assert check(key)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 35), st.sampled_from("0Az_é"))
def test_any_single_typo_is_noticed(random_bytes: bytes, place: int, char: str) -> None:
    key = make_key(random_bytes)
    typed = key[: 6 + place] + char + key[7 + place :]
    assert check(typed) is (typed == key)


@given(st.text(max_size=60))
def test_other_text_is_no_key_of_ours(text: str) -> None:
    assert not check(text)


def test_the_check_characters_are_stable() -> None:
    # Keys that were handed out must stay valid: this pair may never change.
    assert make_key(bytes(32)) == "sk-tk-" + "0" * 30 + check_characters("0" * 30)
    with pytest.raises(AssertionError):
        make_key(bytes(31))


def check_characters(body: str) -> str:
    """Base62 of the CRC-32, worked out bit by bit."""
    crc = 0xFFFFFFFF
    for byte in body.encode():
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    number = crc ^ 0xFFFFFFFF
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(alphabet[number // 62**power % 62] for power in range(5, -1, -1))

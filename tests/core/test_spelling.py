"""The nearest known word."""

from __future__ import annotations

import pytest

from proxy.core.spelling import nearest

WORDS = ("requests", "tokens", "concurrent")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("token", "tokens"), ("reqests", "requests"), ("concurrency", "concurrent")],
)
def test_a_slip_finds_the_word(word: str, meant: str) -> None:
    assert nearest(word, WORDS) == meant


def test_any_word_is_nearest_to_something_but_for_want_of_words() -> None:
    assert nearest("zzz", WORDS) in WORDS
    assert nearest("zzz", ()) is None

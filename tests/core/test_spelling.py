"""The nearest known word."""

from __future__ import annotations

import pytest

from proxy.config.fields import NAMES_ALIKE
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


def test_capital_letters_make_no_difference() -> None:
    assert nearest("RESEARCH", ("R2-TEAM", "research")) == "research"
    assert nearest("lab", ("ops", "LAB")) == "LAB"


def test_a_name_that_is_like_none_is_no_slip() -> None:
    assert nearest("x9", ("research", "support"), NAMES_ALIKE) is None
    assert nearest("reserch", ("research", "support"), NAMES_ALIKE) == "research"

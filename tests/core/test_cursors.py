"""A place in the book comes back from its text, and no other text is one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.cursors import SEQ_MAX, Cursors
from tests.support.effort import examples

CURSORS = Cursors(b"k" * 32)


@settings(max_examples=examples(300))
@given(st.integers(0, SEQ_MAX))
def test_a_seq_comes_back_and_is_not_seen(seq: int) -> None:
    text = CURSORS.sealed(seq)
    assert CURSORS.opened(text) == seq and text == CURSORS.sealed(seq)
    assert Cursors(b"o" * 32).opened(text) is None
    assert len(text) == 22 and text[11:] != CURSORS.sealed(seq ^ 1)[11:]


@settings(max_examples=examples(300))
@given(st.text(max_size=30))
def test_no_other_text_is_one(text: str) -> None:
    assert CURSORS.opened(text) is None


@pytest.mark.parametrize("place", [0, 5, 10, 11, 16, 20])
def test_a_text_that_was_changed_is_none(place: int) -> None:
    text = CURSORS.sealed(4711)
    other = "A" if text[place] != "A" else "B"
    assert CURSORS.opened(text[:place] + other + text[place + 1 :]) is None

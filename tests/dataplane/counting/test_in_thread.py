"""What the counting thread does with texts, prompts and windows; here a token is a character."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from proxy.core.dialects.contract import Call
from proxy.core.tokens.images import ImageRule
from proxy.core.tokens.prompts import Prompt
from proxy.core.tokens.text import Count
from proxy.dataplane.counting.in_thread import (
    PROMPT_BRACKETS_MAX,
    count_blocks,
    count_whole,
    count_windows,
)
from proxy.dataplane.counting.vocabulary import VocabularyError

WHOLE = Prompt(7, exact=True, characters=5)


def counted(
    call: Call, body: bytes, name: str, image_rules: Sequence[ImageRule], count: Count
) -> Prompt | None:
    return WHOLE if body.startswith(b"{") else None


def whole(body: bytes) -> Prompt:
    call = Call(endpoint="/v1/x", model="m", prompt_bytes=len(body))
    return count_whole(counted, call, body, "o200k_base", (), Random(1), len)


def test_a_block_that_cannot_be_counted_is_left_out() -> None:
    def count(text: str) -> int:
        if text == "bad":
            raise VocabularyError
        return len(text)

    assert count_blocks(["one", "bad", "three"], count) == [("one", 3), ("three", 5)]


def test_a_prompt_is_counted_as_its_dialect_says() -> None:
    assert whole(b'{"prompt": "x"}') is WHOLE


@pytest.mark.parametrize("body", [b"unreadable", b"{" * (PROMPT_BRACKETS_MAX + 1)])
def test_what_cannot_be_decoded_or_not_soon_is_sampled(body: bytes) -> None:
    prompt = whole(body)
    assert prompt.sampled and prompt.guessed and not prompt.exact
    assert prompt.tokens >= len(body)


def test_windows_stand_for_all_of_the_body() -> None:
    prompt = count_windows([b"ab", b"cd"], 400, len)
    assert prompt.sampled and not prompt.exact
    assert prompt.tokens >= 400

"""What the counting thread does: count blocks of text, a whole prompt, or windows of a large one.

Each function takes `count` last, which the thread provides: the tokens of a text in one vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Final

from proxy.core.dialects.contract import Call, CountPrompt
from proxy.core.tokens.images import ImageRule
from proxy.core.tokens.prompts import Prompt
from proxy.core.tokens.sampling import sampled, windows
from proxy.core.tokens.text import Count
from proxy.dataplane.counting.vocabulary import VocabularyError

# Decoding a megabyte of `[],[],` would hold the loop up for a third of a second.
PROMPT_BRACKETS_MAX: Final = 50_000


def count_blocks(blocks: Sequence[str], count: Count) -> list[tuple[str, int]]:
    """The blocks that can be counted, each with its tokens."""
    found = []
    for block in blocks:
        with suppress(VocabularyError):
            found.append((block, count(block)))
    return found


def count_windows(parts: Sequence[bytes], size_bytes: int, count: Count) -> Prompt:
    """A prompt of `size_bytes`, estimated from parts of it."""
    tokens, characters = sampled(parts, size_bytes, count)
    return Prompt(tokens, exact=False, characters=characters, guessed=True, sampled=True)


def count_whole(
    count_prompt: CountPrompt,
    call: Call,
    body: bytes,
    name: str,
    image_rules: Sequence[ImageRule],
    dice: Random,
    count: Count,
) -> Prompt:
    """A prompt, counted as its dialect says.

    Windows are counted of a body that cannot be decoded as a whole, though its top level could be,
    and of one that is slow to decode.
    """
    if body.count(b"[") + body.count(b"{") <= PROMPT_BRACKETS_MAX:
        found = count_prompt(call, body, name, image_rules, count)
        if found is not None:
            return found
    return count_windows(windows(body, call.inlined, dice.randrange), call.prompt_bytes, count)

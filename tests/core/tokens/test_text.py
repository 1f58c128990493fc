"""Counting in bounded calls gives what one call gives, and text beyond the bounds is extrapolated
in integers."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.tokens.text import (
    CALL_CHARS_MAX,
    EXACT_CHARS_MAX,
    PENDING_CHARS_MAX,
    TextBlocks,
    count_text,
    count_texts,
    cut,
    extrapolated,
    last_seam,
)
from tests.support.corpora import ENCODINGS, SENTENCES, corpora, count
from tests.support.effort import examples

FIXED = settings(max_examples=examples(300))
CORPORA = corpora(40_000)
SNIPPETS = [word for sentence in SENTENCES for word in sentence.split(" ")] + [
    " ", "  ", "\t", "\n", "\r\n", "\n\n", " \n", "\u00a0", "\u3000", "\u200b", "\u2028", "\x1c", "\x85", "'", "'s", "'S", "’s", "'ll", "1", "12", "123", "²", "Ⅷ", "٣", "一", "\u0301",
    "A", "a", "aB", "ß", "ſ", "ǅ", "ʰ", "中", "/", "//", "_", "-", "...", "!?", "“", "”", "😀", "👩‍👧", "\ufe0f", "<|endoftext|>", "\x00",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=3), max_size=30).map("".join)


class Calls:
    """A count function of a shipped tokenizer that notes what it was called with."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.lengths: list[int] = []

    def __call__(self, text: str) -> int:
        self.lengths.append(len(text))
        return count(self._name, text)


@pytest.mark.parametrize("name", ENCODINGS)
@example(text="}\n// b")
@example(text="²1234567😀")
@given(text=TEXT)
@FIXED
def test_a_count_is_the_same_whether_a_text_is_cut_at_its_seams_or_not(name: str, text: str):
    seams = sorted(
        {seam for end in range(1, len(text)) if (seam := last_seam(text, 0, end)) is not None}
    )
    parts = [text[start:end] for start, end in zip([0, *seams], [*seams, len(text)], strict=True)]
    assert sum(count(name, part) for part in parts) == count(name, text), parts


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_counting_in_bounded_calls_is_exact(name: str, corpus: str):
    calls = Calls(name)
    assert count_text(CORPORA[corpus], calls) == count(name, CORPORA[corpus])
    assert max(calls.lengths) <= CALL_CHARS_MAX and len(calls.lengths) >= 3


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize(
    ("text", "off_max"),
    [
        ("a" * 40_000, 1),
        ("中" * 40_000, 2),
        ("😀" * 40_000, 2),
        (" " * 40_000, 1),
        (" " * 40_000 + "x", 1),
        ("\n" * 40_000, 2),
        ("!" * 40_000, 2),
        ("e\u0301" * 20_000, 2),
        ("7" * 40_000, 0),
    ],
)
def test_a_run_without_seams_is_off_by_a_token_or_two(name: str, text: str, off_max: int):
    calls = Calls(name)
    assert abs(count_text(text, calls) - count(name, text)) <= off_max
    assert max(calls.lengths) <= CALL_CHARS_MAX


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_million_spaces_are_counted(name: str):
    # In one call the tokenizer panics. Its longest token of spaces stands for 128 (o200k_base) or
    # 128 too (cl100k_base).
    calls = Calls(name)
    assert 1_000_000 // 128 <= count_text(" " * 1_000_000 + "x", calls) <= 1_000_000 // 64
    assert (
        max(calls.lengths) <= CALL_CHARS_MAX
        and sum(calls.lengths) <= EXACT_CHARS_MAX + CALL_CHARS_MAX
    )


def test_what_is_beyond_the_bound_is_extrapolated_rounded_up():
    calls: list[int] = []

    def one_in_four(text: str) -> int:
        calls.append(len(text))
        return text.count("a")

    text = "abc " * 1_000_000
    assert 1_000_000 <= count_text(text, one_in_four) <= 1_000_010
    assert EXACT_CHARS_MAX <= sum(calls) <= EXACT_CHARS_MAX + CALL_CHARS_MAX
    calls.clear()
    assert count_texts(["abc " * 1000] * 1000, one_in_four) == 1_000_000, (
        "one bound for all texts together"
    )
    assert EXACT_CHARS_MAX <= sum(calls) <= EXACT_CHARS_MAX + CALL_CHARS_MAX
    assert count_texts(["", "ab", "bab"], len) == 5
    assert (count_texts([], len), count_text("", len)) == (0, 0)
    assert (extrapolated(10, 3, 4), extrapolated(10, 3, 3), extrapolated(0, 0, 0)) == (14, 10, 0)


def test_a_cut_makes_progress_and_no_more_than_a_call():
    assert cut("short", 0) == 5
    assert cut("x" * (CALL_CHARS_MAX + 1), 0) == CALL_CHARS_MAX
    late = "y" * (CALL_CHARS_MAX - 100) + " " + "x" * CALL_CHARS_MAX
    assert cut(late, 0) == CALL_CHARS_MAX - 100, "before a space, not behind it"
    assert cut(late, CALL_CHARS_MAX - 100) == 2 * CALL_CHARS_MAX - 100, (
        "a seam at the start itself is none"
    )
    assert cut("don't" * CALL_CHARS_MAX, 0) == CALL_CHARS_MAX, "never at an apostrophe"


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("size", [1, 7, 300, 50_000])
def test_a_stream_counts_as_its_texts_do(name: str, size: int):
    keys = ["english", "chinese", "mixed", "digits", "lines"]
    blocks = TextBlocks()
    waiting: list[str] = []
    for start in range(0, 40_000, size):
        for key in keys:
            waiting += blocks.add((0, key), CORPORA[key][start : start + size])
    assert all(len(block) <= CALL_CHARS_MAX for block in waiting)
    assert waiting and blocks.pending_chars <= PENDING_CHARS_MAX
    assert blocks.tokens is None and not blocks.exact, "nothing is counted yet"
    for block in waiting:
        blocks.counted(block, count(name, block))
    whole = sum(count(name, CORPORA[key]) for key in keys)
    assert blocks.tokens is not None and abs(blocks.tokens - whole) < whole // 10, (
        "what is still pending is extrapolated"
    )
    for block in blocks.finish():
        blocks.counted(block, count(name, block))
    assert (blocks.tokens, blocks.exact, blocks.pending_chars) == (whole, True, 0)


def test_a_stream_without_text_is_zero_tokens():
    blocks = TextBlocks()
    assert blocks.add((0, "content"), "") == [] == blocks.finish()
    assert (blocks.tokens, blocks.exact) == (0, True)


@pytest.mark.parametrize("texts", [1, 100, 5_000])
def test_a_stream_holds_a_bounded_amount_of_text(texts: int):
    blocks = TextBlocks()
    handed = 0
    for at in range(60_000):
        handed += sum(map(len, blocks.add((at % texts, "content"), "word ")))
        assert blocks.pending_chars <= PENDING_CHARS_MAX
        assert handed + blocks.pending_chars == 5 * (at + 1)
    assert sum(map(len, blocks.finish())) + handed == 300_000
    few = TextBlocks()
    for at in range(5_000):
        few.add((at, "content"), "x")
    assert few.pending_chars < 300, "also in how many texts it tells apart"


def test_a_stream_beyond_the_bound_is_extrapolated_and_no_longer_held():
    blocks = TextBlocks()
    handed = []
    for _ in range(200_000):
        handed += blocks.add(0, "abc abc ")
    assert EXACT_CHARS_MAX <= sum(map(len, handed)) <= EXACT_CHARS_MAX + CALL_CHARS_MAX
    assert (blocks.pending_chars, blocks.finish()) == (0, [])
    for block in handed[1:]:  # one could not be counted
        blocks.counted(block, len(block) // 4)
    assert blocks.tokens == pytest.approx(400_000, rel=0.001) and not blocks.exact
    assert (
        EXACT_CHARS_MAX
        <= sum(map(len, TextBlocks().add(0, "abc " * 1_000_000)))
        <= EXACT_CHARS_MAX + CALL_CHARS_MAX
    ), "nor is what comes in one piece"

"""The text that a client assembles, by its size: increments, snapshots of the text so far, and a
whole text once more at the end."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.assembly import Assembly
from proxy.core.dialects.texts import Texts
from tests.support.effort import examples

FIXED = settings(derandomize=True, deadline=None, max_examples=examples(150))
WORDS = st.sampled_from(
    ["the", " tide", " came", " in", "ha", "a", "\n", " ", "好", "😀", "150", "0", "-", "--"]
)
SENTENCE = "The tide came in slowly over the sand. "


def assembled(pieces: list[str]) -> tuple[int, str, bool]:
    """Bytes of the text, the text, and whether it is in doubt."""
    texts = Texts(None)
    assembly = Assembly(texts)
    size = sum(assembly.text((0, "content")).add(piece.encode()) for piece in pieces)
    assembly.finish()
    texts.finish()
    return size, "".join(texts.blocks), assembly.doubtful


def appended(pieces: list[str]) -> str:
    """A plain reader: append, unless a piece starts with all of a text that is long enough to be
    known again."""
    text = ""
    for piece in pieces:
        text = piece if len(text.encode()) >= 64 and piece.startswith(text) else text + piece
    return text


@FIXED
@given(st.lists(WORDS, max_size=80))
def test_increments_are_appended_whatever_they_repeat(pieces: list[str]) -> None:
    size, text, _ = assembled(pieces)
    assert text == appended(pieces)
    assert size == len(text.encode())


@pytest.mark.parametrize(
    "pieces",
    [
        ["\n", "\n", "Here"],
        ["150", "0"],
        ["ha", "haha", "ha"],
        ["ha"] * 500,
        [" "] * 500,
        ["a", "ab", "x"],
        ["-", "--", "-"],
        ["ab ab ", "ab ", "ab ab ", "ab ab ab "],
    ],
)
def test_short_pieces_that_happen_to_nest_are_increments(pieces: list[str]) -> None:
    assert assembled(pieces)[:2] == (len("".join(pieces)), "".join(pieces))


@FIXED
@given(st.lists(WORDS, min_size=12, max_size=60), st.data())
def test_snapshots_of_the_text_so_far_count_once(words: list[str], data: st.DataObject) -> None:
    snapshots = list(accumulate(words))
    once_more = data.draw(st.lists(st.integers(3, len(snapshots) - 1), max_size=2))
    pieces = [
        piece for number, piece in enumerate(snapshots) for _ in range(1 + (number in once_more))
    ]
    size, text, _ = assembled(pieces)
    assert text == snapshots[-1]
    assert size == len(text.encode())


@pytest.mark.parametrize("count", [3, 25, 200])
@pytest.mark.parametrize("sent", ["same", "one more", "without its last blank"])
def test_the_whole_text_once_more_at_the_end_is_in_doubt(count: int, sent: str) -> None:
    text = SENTENCE * count
    last = {"same": text, "one more": text + "Source: a.", "without its last blank": text.strip()}[
        sent
    ]
    size, kept, doubtful = assembled([SENTENCE] * count + [last])
    assert doubtful
    assert size == len(kept) == (len(text + last) if sent.startswith("without") else len(last))


def test_only_one_whole_text_is_taken_for_a_repeat() -> None:
    text = SENTENCE * 20
    halves = [text[:300], text[300:]]
    assert assembled([*halves, text, text])[0] == 2 * len(text)


def test_a_text_that_is_one_piece_and_comes_twice_counts_twice_and_is_in_doubt() -> None:
    assert assembled([SENTENCE * 9] * 2) == (2 * 9 * len(SENTENCE), SENTENCE * 18, True)


def test_snapshots_that_are_shortened_changed_or_begun_anew_do_not_add_up() -> None:
    text = SENTENCE * 40
    steps = [text[:at] for at in range(10, len(text), 10)]
    trimmed = [piece.rstrip() if number % 3 else piece for number, piece in enumerate(steps)]
    assert len(text) - 20 <= assembled(trimmed)[0] <= len(text) + 60
    broken = [piece if number % 5 else piece[:-1] + "\ufffd" for number, piece in enumerate(steps)]
    assert len(text) - 20 <= assembled(broken)[0] <= len(text) + 200
    other = "Another answer begins. " * 30
    twice = steps + [other[:at] for at in range(7, len(other), 7)]
    assert len(text) + len(other) - 20 <= assembled(twice)[0] <= len(text) + len(other) + 20


def test_snapshots_that_do_not_grow_count_once_there_are_more_of_them_than_of_others() -> None:
    """Pieces that happened to grow, and then go on in another size, are words over and over."""
    grown = [SENTENCE * count for count in range(1, 11)]
    assert assembled([*grown, *[SENTENCE * 8] * 3])[0] == (10 + 3 * 8) * len(SENTENCE)
    assert assembled([*grown, *[SENTENCE * 10] * 60])[0] >= (10 + 50 * 10) * len(SENTENCE)


@pytest.mark.parametrize("unit", ["abc ", "ha", " ", SENTENCE])
def test_a_text_that_repeats_itself_is_not_counted_for_less(unit: str) -> None:
    """A caller can have the same words written over and over, and servers gather them into pieces
    of any size."""
    worst = 1.0
    for seed in range(60):
        rng = random.Random(seed)
        text = unit * (rng.choice([500, 5000]) // len(unit))
        pieces, at = [], 0
        step = rng.choice([1, 4, 40])
        while at < len(text):
            size = len(unit) * rng.randint(1, step) if rng.random() < 0.9 else rng.randint(1, 60)
            pieces.append(text[at : at + size])
            at += size
        size, kept, doubtful = assembled(pieces)
        assert size == len(kept) <= len(text)
        worst = min(worst, size / len(text)) if not doubtful else worst
    assert worst >= 0.85, worst


def test_snapshots_that_each_come_twice_are_snapshots_once_they_have_grown_often() -> None:
    twice = [SENTENCE * count for count in range(1, 41) for _ in range(2)]
    assert assembled(twice)[0] <= 41 * len(SENTENCE)


def test_finished_thoughts_that_come_again_with_each_growth_of_the_answer_are_no_new_text() -> None:
    """Servers that send all so far with each event send the thoughts again, as often as the answer
    grows."""
    assembly = Assembly(None)
    thoughts, answer = assembly.text((0, "reasoning")), assembly.text((0, "content"))
    size = sum(thoughts.add((SENTENCE * count).encode()) for count in range(1, 11))
    for count in range(1, 61):
        size += thoughts.add((SENTENCE * 10).encode()) + answer.add((SENTENCE * count).encode())
    assembly.finish()
    assert size == 70 * len(SENTENCE)


def test_texts_are_kept_apart_and_so_many_at_most() -> None:
    assembly = Assembly(None)
    assert (
        assembly.text((0, "content"))
        is assembly.text((0, "content"))
        is not assembly.text((1, "content"))
    )
    assert len({id(assembly.text((number, "content"))) for number in range(10_000)}) <= 257


def test_what_is_kept_is_bounded() -> None:
    assembly = Assembly(None)
    text = assembly.text((0, "content"))
    for size in (60_000, 60_001, 60_002, 3):
        text.add(b"x" * size)
        assert len(text._head) + len(text._tail) + sum(map(len, text._held or ())) <= 66_000
    for _ in range(3):
        text.add(b"y" * 50_000)
    assert len(text._head) + len(text._tail) <= 1024

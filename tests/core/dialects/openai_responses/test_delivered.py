"""Each text counts once, however often it comes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_responses.delivered import DeliveredParts
from proxy.core.dialects.openai_responses.items import Written
from proxy.core.dialects.texts import Texts
from tests.support.effort import examples

TEXT = (0, "text", 0)


def test_of_a_part_counts_the_larger_of_its_pieces_and_its_whole() -> None:
    delivered = DeliveredParts(None)
    assert [delivered.add(TEXT, b"abc"), delivered.add(TEXT, b"de")] == [3, 2]
    assert [
        delivered.whole(TEXT, b"abcde"),
        delivered.whole(TEXT, b"abcdefg"),
        delivered.whole(TEXT, b"a"),
    ] == [0, 2, 0]
    assert delivered.add((1, "text", 0), b"xyz") == 3
    assert delivered.text_bytes == 10


def test_thoughts_and_their_summary_count_once() -> None:
    delivered = DeliveredParts(None)
    delivered.add((0, "summary", 0), b"short.")
    assert delivered.add((0, "reasoning", 0), b"much longer") == 5
    assert delivered.add((0, "summary", 1), b"more") == 0
    assert delivered.add((1, "summary", 0), b"another item") == 12


def test_a_response_adds_only_what_did_not_come_before() -> None:
    delivered = DeliveredParts(None)
    delivered.add(TEXT, b"abcde")
    delivered.add((0, "summary", 0), b"sum")
    items = [
        [Written("summary", 0, b"sum"), Written("reasoning", 0, b"reasons")],
        [Written("text", 0, b"abcdefg")],
    ]
    assert delivered.all_of(items) == (7 - 3) + 2
    assert delivered.all_of(items) == 0


def test_pieces_that_were_the_text_so_far_are_taken_back() -> None:
    texts = Texts(None)
    delivered = DeliveredParts(texts)
    for end in range(1, 9):
        delivered.add(TEXT, b"abcdefgh"[:end])
    assert delivered.whole(TEXT, b"abcdefgh") == 8 - 36
    assert delivered.doubtful and not texts.whole


def test_more_parts_than_are_told_apart_count_as_one() -> None:
    delivered = DeliveredParts(None)
    for number in range(5000):
        delivered.add((number, "text", 0), b"x")
    assert delivered.text_bytes == 5000


@settings(derandomize=True, max_examples=examples(150))
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["text", "summary", "reasoning"]),
            st.binary(max_size=6),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_the_sum_is_what_was_said_to_be_new_and_the_texts_hold_it(
    steps: list[tuple[int, str, bytes, bool]],
) -> None:
    texts = Texts(None)
    delivered = DeliveredParts(texts)
    new = 0
    for number, kind, text, whole in steps:
        take = delivered.whole if whole else delivered.add
        new += take((number, kind, 0), text)
        assert delivered.text_bytes == new >= 0

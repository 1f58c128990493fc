"""What is learned from answers that state their usage, and what it makes of those that do not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.tokens.learned import (
    ANSWERS_MAX,
    ANSWERS_TRUSTED,
    OUTPUT_EXPECTED,
    Direction,
    Learned,
    Ratio,
    TextCount,
)
from tests.support.effort import examples

FIXED = settings(max_examples=examples(50))


def taught(*answers: tuple[int, int, TextCount | None]) -> Direction:
    """A direction that has learned from answers of (tokens, bytes, counted)."""
    direction = Direction()
    for answer in answers:
        direction.learn(*answer)
    return direction


@pytest.mark.parametrize(
    ("answers", "size_bytes", "counted", "tokens"),
    [
        ([], 10, None, 3),  # nothing is known: bytes / 4, rounded up
        ([], 10, (7, 10), 7),  # or our own count as it is
        ([(200, 400, None)] * 19, 400, (90, 400), 90),  # 19 answers are no reason to doubt a count
        ([(200, 400, None)] * 100, 400, None, 200),  # the model's own tokens per byte
        (
            [(200, 400, None)] * 100,
            400,
            (90, 400),
            200,
        ),  # nothing counted yet: what the bytes teach is better than an unknown ratio
        ([(210, 400, (100, 400))] * 100, 400, (100, 400), 210),  # tokens per counted token
        ([(210, 4000, (100, 400))] * 100, 400, (100, 400), 210),  # which wins over those per byte
        ([(210, 400, (100, 400))] * 100, 400, (0, 0), 0),
        (
            [(100, 400, (100, 400)), (140, 300, (100, 100))] * 9,
            300,
            (100, 100),
            120,
        ),  # too few of a kind: all of them together
        (
            [(100, 400, (100, 400)), (140, 300, (100, 100))] * 50,
            300,
            (100, 100),
            140,
        ),  # dense text has a ratio of its own
        ([(100, 400, (100, 400)), (140, 300, (100, 100))] * 50, 400, (100, 400), 100),
        (
            [(100, 400, (100, 400)), (140, 300, (100, 100))] * 50,
            400,
            (100, 300),
            120,
        ),  # of a kind never met: all of them together,
    ],
)
def test_the_best_that_is_known_is_used(
    answers: list[tuple[int, int, TextCount | None]],
    size_bytes: int,
    counted: TextCount | None,
    tokens: int,
) -> None:
    estimate = taught(*answers).estimate(size_bytes, counted)
    assert abs(estimate - tokens) <= tokens // 100, estimate


@FIXED
@given(st.lists(st.tuples(st.integers(1, 3_000), st.integers(50, 250)), min_size=120, max_size=200))
def test_totals_come_out_right_however_single_answers_differ(
    answers: list[tuple[int, int]],
) -> None:
    """Ratios of single answers lie between 0.5 and 2.5; the sums of what was learned and of what
    follows agree all the same."""
    direction = taught(
        *(
            (counted * percent // 100, counted * 4, (counted, counted * 4))
            for counted, percent in answers
        )
    )
    stated = sum(counted * percent // 100 for counted, percent in answers)
    estimated = sum(
        direction.estimate(counted * 4, (counted, counted * 4)) for counted, _ in answers
    )
    rounding_up, prior = len(answers), 32 * 3
    assert abs(estimated - stated) <= rounding_up + prior


@pytest.mark.parametrize(
    ("stated", "agrees"),
    [(1000, True), (1019, True), (981, True), (1025, False), (970, False), (2500, False)],
)
def test_a_known_vocabulary_is_believed_until_answers_say_otherwise(
    stated: int, agrees: bool
) -> None:
    assert taught(*[(stated, 4000, (1000, 4000))] * (ANSWERS_TRUSTED - 1)).agrees()
    assert taught(*[(stated, 4000, (1000, 4000))] * ANSWERS_TRUSTED).agrees() == agrees
    assert taught(*[(stated, 4000, None)] * 1000).agrees(), (
        "nothing was counted, so nothing is known to differ"
    )


@pytest.mark.parametrize(
    "answer",
    [
        (10, 10**7, None),
        (10, 10**7, (2_000_000, 10**7)),
        (1, 400_000, (100_000, 400_000)),
        (0, 10**6, (0, 0)),
        (2**53, 1, (1, 1)),
    ],
)
def test_one_strange_answer_changes_nobody_else_s_estimates(
    answer: tuple[int, int, TextCount | None],
) -> None:
    """A body full of blanks, a completion that echoes its prompt, a vendor that states nonsense:
    among a hundred others they hardly weigh."""
    usual = [(100, 400, (100, 400))] * 100
    for counted in (None, (100, 400)):
        assert 97 <= taught(*usual, answer).estimate(400, counted) <= 103


def test_no_estimate_is_beyond_what_an_answer_can_have() -> None:
    """What is charged, journaled and summed must fit where it goes, whatever a vendor has
    stated."""
    direction = taught(*[(2**32, 1, (1, 1))] * ANSWERS_TRUSTED)
    assert direction.estimate(2**20, (10**6, 10**6)) == direction.estimate(2**20, None) == 2**32
    for _ in range(ANSWERS_MAX):
        direction.learn(2**32, 2**20, (10**6, 10**6))
    assert max(direction.estimated, direction.stated) < 2**53


def test_prompts_that_no_published_rule_covers_say_nothing_against_the_vocabulary() -> None:
    direction = Direction()
    for _ in range(100):
        direction.learn(1200, 4000, (1000, 4000), exact=False)
    assert direction.agrees()
    assert 1190 <= direction.estimate(4000, (1000, 4000)) <= 1200, (
        "though they tell what others like them come to"
    )


def test_a_model_that_changes_is_learned_anew() -> None:
    direction = taught(*[(100, 400, (100, 400))] * 2 * ANSWERS_MAX)
    for _ in range(4 * ANSWERS_MAX):
        direction.learn(200, 400, (100, 400))
    assert 195 <= direction.estimate(400, (100, 400)) <= 200
    assert direction.answers < ANSWERS_MAX


def test_a_vocabulary_that_disagreed_once_is_believed_again() -> None:
    direction = taught(*[(200, 400, (100, 400))] * 2 * ANSWERS_MAX)
    assert not direction.agrees()
    for _ in range(8 * ANSWERS_MAX):
        direction.learn(100, 400, (100, 400))
    assert direction.agrees()


def test_the_error_is_that_of_the_estimates_before_they_learned() -> None:
    direction = taught((200, 400, (100, 400)))
    assert (direction.estimated, direction.stated) == (100, 200)


def test_a_ratio_is_never_zero_or_undefined() -> None:
    assert Ratio(0, 1).parts() == (1, 1)
    assert taught((0, 0, (0, 0))).estimate(0, (0, 0)) == 0


@FIXED
@given(st.lists(st.integers(0, 2**53), min_size=ANSWERS_TRUSTED, max_size=300))
def test_the_expected_output_is_the_95th_percentile_to_within_a_bucket(sizes: list[int]) -> None:
    learned = Learned()
    for size in sizes:
        learned.learn_output_size(size)
    expected = learned.output_expected()
    exact = sorted(sizes)[-(-len(sizes) * 95 // 100) - 1]
    assert exact <= expected <= max(exact + exact // 4 + 1, 1)


def test_an_unknown_model_is_expected_to_write_a_thousand_tokens() -> None:
    learned = Learned()
    for _ in range(ANSWERS_TRUSTED - 1):
        learned.learn_output_size(10)
    assert learned.output_expected() == OUTPUT_EXPECTED
    learned.learn_output_size(10)
    assert learned.output_expected() == 11


def test_outputs_of_long_ago_are_forgotten() -> None:
    learned = Learned()
    for size in (100_000, 10):
        for _ in range(3 * ANSWERS_MAX):
            learned.learn_output_size(size)
    assert learned.output_expected() < 1_000_000
    for _ in range(3 * ANSWERS_MAX):
        learned.learn_output_size(10)
    assert learned.output_expected() == 11
    assert sum(learned.outputs) < ANSWERS_MAX

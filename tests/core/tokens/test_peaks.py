"""The peak rises at once and falls slowly."""

from __future__ import annotations

from proxy.core.tokens.learned import OUTPUT_EXPECTED
from proxy.core.tokens.peaks import FADES, Peaks


def test_before_any_answer_is_known_each_side_may_be_as_long_as_any() -> None:
    assert Peaks() == Peaks(OUTPUT_EXPECTED, OUTPUT_EXPECTED, 0)


def test_a_large_answer_is_expected_again_at_once() -> None:
    peaks = Peaks()
    peaks.learn(50_000, 4_160, 7)
    assert peaks == Peaks(50_000, 4_160, 7)


def test_small_answers_lower_it_one_by_one_and_never_below_what_they_use() -> None:
    peaks = Peaks(6_400, 6_400, 6_400)
    peaks.learn(10, 0, None)
    assert peaks == Peaks(6_300, 6_300, 6_400)
    for _ in range(FADES):
        peaks.learn(10, 0, 5)
    assert peaks.output_tokens > 2_000
    for _ in range(10 * FADES):
        peaks.learn(10, 0, 5)
    assert peaks == Peaks(10, 0, 5)

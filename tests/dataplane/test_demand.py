"""The most that a request may use, where it can be told."""

from __future__ import annotations

import pytest

from proxy.core.limits.decisions import bounds
from proxy.dataplane.demand import most_output, nothing


@pytest.mark.parametrize(
    ("answers", "cap", "bound"),
    [(1, 100, 100), (3, 100, 300), (0, None, 0), (None, 100, None), (1, None, None)],
)
def test_output_is_bounded_by_the_cap_of_each_answer(
    answers: int | None, cap: int | None, bound: int | None
) -> None:
    assert most_output(answers, cap) == bound


def test_a_request_without_tokens_is_one_request_and_bounded() -> None:
    assert bounds(nothing("x", 0)) == (1, 0, 0, 0, 1, 0)

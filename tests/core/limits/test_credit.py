"""How much a budget has with its credits."""

from __future__ import annotations

import pytest

from proxy.core.limits.credit import FOR_GOOD, Credit, room_of
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Scope, limit_of

DAY = limit_of(parse("100 tokens/day"), Scope.KEY, "a")
USD = limit_of(parse("1 USD/total"), Scope.KEY, "a")


@pytest.mark.parametrize(
    ("credits", "room", "until_ms"),
    [
        ([], 100, FOR_GOOD),
        ([Credit("a", DAY.id, 5, 1500)], 105, FOR_GOOD),
        ([Credit("a", DAY.id, 5, 999)], 100, FOR_GOOD),
        ([Credit("a", DAY.id, 5, 2000)], 100, FOR_GOOD),
        ([Credit("a", DAY.id, 5, 0, 1700)], 105, 1700),
        ([Credit("a", DAY.id, 5, 0, 1600)], 100, FOR_GOOD),
        ([Credit("a", DAY.id, 5, 0, 1900), Credit("b", DAY.id, 7, 0, 1700)], 112, 1700),
        ([Credit("a", DAY.id, -300, 1500)], -200, FOR_GOOD),
        ([Credit("a", DAY.id, 5, 1500, None, "tokens")], 105, FOR_GOOD),
        ([Credit("a", DAY.id, 5, 1500, None, "USD")], 100, FOR_GOOD),
    ],
)
def test_the_room_of_a_window(credits: list[Credit], room: int, until_ms: int) -> None:
    assert room_of(DAY, credits, 1000, 2000, 1600) == (room, until_ms)


def test_a_total_keeps_its_credits_for_ever() -> None:
    credits = [Credit("a", USD.id, 5, 10**15), Credit("b", USD.id, 7, 0, None, "USD")]
    assert room_of(USD, credits, 0, None, 1) == (10**9 + 12, FOR_GOOD)

"""Of several refusals the longest is told."""

from __future__ import annotations

from proxy.core.limits.language import parse
from proxy.core.limits.limit import Scope, limit_of
from proxy.core.limits.state import LimitState, Refused, lasts


def refused(
    text: str, *, retry_after_ms: int | None, never: bool = False, resets_at_ms: int | None = None
) -> Refused:
    limit = limit_of(parse(text), Scope.KEY, "a")
    state = LimitState(limit=limit, amount=1, used=1, remaining=0, resets_at_ms=resets_at_ms)
    return Refused(limit=limit, state=state, wanted=1, retry_after_ms=retry_after_ms, never=never)


def test_the_order_of_refusals() -> None:
    slots = refused("1 concurrent", retry_after_ms=1000)
    minute = refused("1 requests/minute", retry_after_ms=59_000)
    day = refused("1 requests/day", retry_after_ms=None, resets_at_ms=5)
    month = refused("1 requests/month", retry_after_ms=None, resets_at_ms=9)
    total = refused("1 requests/total", retry_after_ms=None)
    never = refused("0 requests/day", retry_after_ms=None, never=True)
    ordered = [slots, minute, day, month, total, never]
    assert sorted([total, day, slots, never, month, minute], key=lasts) == ordered

"""What a request takes of a limit, what it used of it in the end, and whether it may: the four modes in one line each.

| enforce | a request is let through while            | it takes            | a stream that outgrows what it took          |
|---------|-------------------------------------------|---------------------|----------------------------------------------|
| warn    | always; beyond the limit it is told       | what is expected    | takes more                                   |
| finish  | taken < limit                             | what is expected    | takes more                                   |
| cut     | taken < limit                             | what is expected    | takes more while that is left, else is ended |
| strict  | taken + all it may use ≤ limit            | all it may use      | the same                                     |

"taken" is what was used and what running requests hold. Requests and slots are known exactly before they are sent: for them every mode but `warn` decides
like `strict`. A hold larger than all that is left thus keeps nobody out but under `strict`: an agent that names a huge `max_tokens` starts at 0 spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from proxy.core.limits.language import Unit
from proxy.core.limits.limit import Enforce, Limit


class Ask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request is expected to use, and the most that it may use (`…_bound`; None: not known, or not asked since no limit is strict).

    `started_at_ms` is the start that its record will state: it decides on the calendar's windows, so that these count what the ledger says.
    """

    exchange_id: str
    started_at_ms: int
    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    charge_nano: int | None = None          # None: not priced
    input_bound: int | None = None
    output_bound: int | None = None
    charge_bound_nano: int | None = None


class Used(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a record says was used; of an adjustment, what it changes. None is not known, and counts nothing, as in the ledger's sums."""

    requests: int = 1
    input_tokens: int | None = None
    output_tokens: int | None = None
    charge_nano: int | None = None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _known(count: int | None) -> int:
    return 0 if count is None else count


EXPECTED: dict[Unit, Callable[[Ask], int]] = {
    Unit.REQUESTS: lambda ask: ask.requests,
    Unit.TOKENS: lambda ask: ask.input_tokens + ask.output_tokens,
    Unit.INPUT_TOKENS: lambda ask: ask.input_tokens,
    Unit.OUTPUT_TOKENS: lambda ask: ask.output_tokens,
    Unit.CONCURRENT: lambda _: 1,
    Unit.MONEY: lambda ask: _known(ask.charge_nano),
}
BOUND: dict[Unit, Callable[[Ask], int | None]] = {
    Unit.REQUESTS: lambda ask: ask.requests,
    Unit.TOKENS: lambda ask: _sum(ask.input_bound, ask.output_bound),
    Unit.INPUT_TOKENS: lambda ask: ask.input_bound,
    Unit.OUTPUT_TOKENS: lambda ask: ask.output_bound,
    Unit.CONCURRENT: lambda _: 1,
    Unit.MONEY: lambda ask: ask.charge_bound_nano,
}
USED: dict[Unit, Callable[[Used], int]] = {
    Unit.REQUESTS: lambda used: used.requests,
    Unit.TOKENS: lambda used: _known(used.input_tokens) + _known(used.output_tokens),
    Unit.INPUT_TOKENS: lambda used: _known(used.input_tokens),
    Unit.OUTPUT_TOKENS: lambda used: _known(used.output_tokens),
    Unit.CONCURRENT: lambda _: 0,
    Unit.MONEY: lambda used: _known(used.charge_nano),
}


def _bound(bound: Callable[[Ask], int | None]) -> Callable[[Ask], int]:
    def hold(ask: Ask) -> int:
        amount = bound(ask)
        assert amount is not None, "a strict limit takes only what can be bounded: ask `not_boundable` first"
        return amount

    return hold


STRICT: dict[Unit, Callable[[Ask], int]] = {unit: _bound(bound) for unit, bound in BOUND.items()}


def hold_of(limit: Limit) -> Callable[[Ask], int]:
    """What a request takes of this limit when it is let through."""
    return (STRICT if limit.enforce is Enforce.STRICT else EXPECTED)[limit.unit]


def is_exact(limit: Limit) -> bool:
    """Whether a request has to fit in whole, instead of finding something left."""
    return limit.enforce is Enforce.STRICT or limit.unit in (Unit.REQUESTS, Unit.CONCURRENT)


def fits(exact: bool, taken: int, amount: int, room: int) -> bool:
    """Whether a request that takes `amount` is let through where `taken` of `room` are taken."""
    return taken + amount <= room if exact else taken < room


def may_grow(limit: Limit, taken: int, more: int, room: int) -> bool:
    """Whether a running stream may take `more`."""
    return limit.enforce in (Enforce.WARN, Enforce.FINISH) or taken + more <= room


def not_boundable(limits: Iterable[Limit], ask: Ask) -> Limit | None:
    """The first strict limit for which nothing says how much this request may use."""
    return next((limit for limit in limits if limit.enforce is Enforce.STRICT and BOUND[limit.unit](ask) is None), None)


def not_priced(limits: Iterable[Limit], ask: Ask) -> Limit | None:
    """The first money limit that could not count this request, since its model has no price."""
    return next((limit for limit in limits if limit.unit is Unit.MONEY and limit.refuses and ask.charge_nano is None), None)

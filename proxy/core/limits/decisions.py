"""What a request takes of a limit, what it used of it in the end, and whether it may.

| enforce | lets a request through while   | it takes         | a stream that outgrows that     |
|---------|--------------------------------|------------------|---------------------------------|
| warn    | always; beyond, it is told     | what is expected | takes more                      |
| finish  | taken < limit                  | what is expected | takes more                      |
| cut     | taken < limit                  | what is expected | takes more while there is some, |
|         |                                |                  | else is ended                   |
| strict  | taken + all it may use ≤ limit | all it may use   | the same                        |

"taken" is what was used and what running requests hold. Requests and slots are known exactly before
they are sent: for them every mode but `warn` decides like `strict`. A hold larger than the rest of
a limit thus keeps nobody out but under `strict`: an agent that names a huge `max_tokens` starts at
0 spent.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxy.core.entries import Opened
from proxy.core.limits.language import Unit
from proxy.core.limits.limit import Enforce, Limit


class Demand(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request is expected to use, and the most that it may use (`…_bound`).

    A bound is None if it is not known, or not asked since no limit is strict. `started_at_ms` is
    the start that the record will state: it decides on the calendar's windows, so that these count
    what the ledger says. `opened` says whose it is: a shared store keeps that with what it holds,
    for the case that this process does not come back; None: nobody will ask.
    """

    exchange_id: str
    started_at_ms: int
    requests: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    charge_nano: int | None = None  # None: not priced
    input_bound: int | None = None
    output_bound: int | None = None
    charge_bound_nano: int | None = None
    opened: Opened | None = None


class Used(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a record says was used; of an adjustment, what it changes, without a request.

    None is not known and counts nothing, as in the ledger's sums.
    """

    requests: int = 1
    input_tokens: int | None = None
    output_tokens: int | None = None
    charge_nano: int | None = None


# Where a unit stands in the tuples below: made once for a request, read for each limit.
INDEX = {unit: place for place, unit in enumerate(Unit)}


def expected(ask: Demand) -> tuple[int, ...]:
    """What a request is expected to use, unit by unit.

    An unknown charge counts as 0: limits that refuse it are asked before (`not_priced`).
    """
    charge_nano = ask.charge_nano
    return (
        ask.requests,
        ask.input_tokens + ask.output_tokens,
        ask.input_tokens,
        ask.output_tokens,
        1,
        0 if charge_nano is None else charge_nano,
    )


def bounds(ask: Demand) -> tuple[int | None, ...]:
    """The most that a request may use, unit by unit; None: not known."""
    inputs, outputs = ask.input_bound, ask.output_bound
    return (
        ask.requests,
        None if inputs is None or outputs is None else inputs + outputs,
        inputs,
        outputs,
        1,
        ask.charge_bound_nano,
    )


def bound_of(limit: Limit, ask: Demand) -> int:
    """What a request takes of a strict limit."""
    bound = bounds(ask)[INDEX[limit.unit]]
    assert bound is not None, (
        "a strict limit takes only what can be bounded: ask `not_boundable` first"
    )
    return bound


def counts(used: Used) -> tuple[int, ...]:
    """What was used, unit by unit. A slot is not used up."""
    inputs = 0 if used.input_tokens is None else used.input_tokens
    outputs = 0 if used.output_tokens is None else used.output_tokens
    return (
        used.requests,
        inputs + outputs,
        inputs,
        outputs,
        0,
        0 if used.charge_nano is None else used.charge_nano,
    )


def is_exact(limit: Limit) -> bool:
    """Whether a request has to fit in whole, instead of finding something left."""
    return limit.enforce is Enforce.STRICT or limit.unit in (Unit.REQUESTS, Unit.CONCURRENT)


def fits(exact: bool, amount: int, left: int) -> bool:
    """Whether a request that takes `amount` is let through while `left` is left.

    `left` is zero or negative where more is taken than there is.
    """
    return amount <= left if exact else left > 0


def may_grow(limit: Limit, more: int, left: int) -> bool:
    """Whether a running stream may take `more`."""
    return more <= left or limit.enforce in (Enforce.WARN, Enforce.FINISH)


def not_boundable(limits: Iterable[Limit], ask: Demand) -> Limit | None:
    """The first strict limit for which nothing says how much this request may use."""
    return next(
        (
            limit
            for limit in limits
            if limit.enforce is Enforce.STRICT and bounds(ask)[INDEX[limit.unit]] is None
        ),
        None,
    )


def not_priced(limits: Iterable[Limit], ask: Demand) -> Limit | None:
    """The first money limit that could not count this request, since its model has no price."""
    return next(
        (
            limit
            for limit in limits
            if limit.unit is Unit.MONEY and limit.refuses and ask.charge_nano is None
        ),
        None,
    )

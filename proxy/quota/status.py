"""The state of a limit, for people and scripts.

`GET /v1/usage`, the admin plane and the command line all show it in this form.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, tzinfo

import msgspec

from proxy.core.limits.language import Unit, show, show_money
from proxy.core.limits.limit import PPM, Limit
from proxy.core.limits.state import LimitState
from proxy.quota import Quota

AT_ONCE = 500  # limits looked at before others get their turn


class LimitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A limit and its state, as JSON shows it.

    Amounts are whole numbers in the limit's `unit`; amounts of money are exact decimals as strings.
    `taken` is the share used and held: `0.8` is 80 %.

    `per` is what the limit counts apart, `value` what this count is for: as it is booked,
    an end user as `privacy.end_user` says. `""` stands for requests without a value, `"\n"` for all
    values that share one count because there are too many.
    """

    id: str
    rule: str
    scope: str
    scope_id: str | None
    enforce: str
    unit: str
    amount: int | str
    granted: int | str
    used: int | str
    held: int | str
    remaining: int | str
    taken: float
    resets_at: str | None
    per: str | None = None
    value: str | None = None


def standing(state: LimitState, zone: tzinfo) -> LimitStatus:
    """The state as it is shown; `resets_at` in ISO 8601 with the zone's offset."""
    limit = state.limit

    def amount(value: int) -> int | str:
        return show_money(value) if limit.unit is Unit.MONEY else value

    return LimitStatus(
        id=limit.id,
        rule=show(limit.rule),
        scope=limit.scope,
        scope_id=limit.scope_id or None,
        enforce=limit.enforce,
        unit=limit.unit if limit.currency is None else limit.currency,
        amount=amount(state.amount),
        granted=amount(state.granted),
        used=amount(state.used),
        held=amount(state.held),
        remaining=amount(state.remaining),
        taken=taken_ppm(state) / PPM,
        resets_at=None
        if state.resets_at_ms is None
        else datetime.fromtimestamp(state.resets_at_ms / 1000, UTC)
        .astimezone(zone)
        .isoformat(timespec="seconds"),
        per=limit.dimension,
        value=limit.value,
    )


def taken_ppm(state: LimitState) -> int:
    """How much of a limit is used or held, in millionths. An amount of 0 is always all used."""
    room = state.amount + state.granted
    taken = state.used if state.limit.smooth else state.used + state.held
    return PPM if room <= 0 else taken * PPM // room


async def states_in_turns(
    quota: Quota, limits: Sequence[Limit], now_ms: int
) -> AsyncIterator[list[LimitState]]:
    """The states of many limits, some at a time. Raises QuotaUnavailable.

    There may be tens of thousands, so other tasks get their turn in between.
    """
    for start in range(0, len(limits), AT_ONCE):
        yield await quota.states(limits[start : start + AT_ONCE], now_ms)
        await asyncio.sleep(0)

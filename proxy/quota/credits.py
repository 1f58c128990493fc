"""The states of limits, and credits on them, for the admin plane and the command line.

Both work with the store of the running process, or with one that is rebuilt from the book.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

import msgspec

from proxy.config.fields import NAMES_ALIKE
from proxy.config.instants import instant_ms
from proxy.config.settings import Settings
from proxy.core.calendar import Per
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.ids import uuid7
from proxy.core.limits.credit import Credit
from proxy.core.limits.language import Unit, parse, show_amount
from proxy.core.limits.limit import Limit, Scope
from proxy.core.limits.rules import Rules
from proxy.core.limits.state import LimitState
from proxy.core.managed import FORWARDED
from proxy.core.spelling import nearest
from proxy.ledger import Ledger
from proxy.quota import Quota
from proxy.quota.chosen import LimitPage, holding, page
from proxy.quota.status import states_in_turns, taken_ppm

REASON_CHARS_MAX = 200
AMOUNT_MAX = 2**63 - 1  # what a ledger's integer holds; of money in nano-units
_NUMBER = re.compile(r"[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?")


class CreditOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credit as it is asked for: an amount, a reason, an end.

    `amount` is text in the limit's unit (`"50"`, `"12.50"`); a negative one takes back. `until` is
    a day or a time in the zone.
    """

    amount: str
    reason: str
    until: str | None = None


class Credited(msgspec.Struct, frozen=True):
    """A credit that was booked, and the state of its limit with it, as `counts_of` gives it."""

    id: str
    credited: str
    until_ms: int | None
    state: LimitState


class LimitChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which limits to list: all that hold for a team or a key, of which so much is used or held.

    `after` is the `next` of the page before; `most`: how many at once, None for all.
    """

    near_ppm: int = 0
    team: str | None = None
    key: str | None = None
    after: str | None = None
    most: int | None = None


async def standings(
    quota: Quota, rules: Rules, settings: Settings, now_ms: int, choice: LimitChoice
) -> LimitPage:
    """The chosen limits that hold now, fullest first.

    Those are the ones of the config, of keys and of teams, and those with a count of callers whose
    keys no config names. One that was taken back keeps its count, and is not told.

    A limit that counts values apart stands here once for each value that has a count.
    Raises ProxyError 400 or 404 for a choice that makes no sense.
    """
    held = {limit.rule_id for limit in rules.configured()}
    counted = [
        limit
        for limit in quota.limits()
        if limit.rule_id in held
        or (limit.scope is Scope.KEY and limit.scope_id.startswith(FORWARDED))
    ]
    valued = {limit.rule_id for limit in counted if limit.value is not None}
    configured = (limit for limit in rules.configured() if limit.count_id not in valued)
    limits = list({limit.count_id: limit for limit in (*counted, *configured)}.values())
    holds = holding(settings, choice.team, choice.key, limits)
    shown: list[LimitState] = []
    async for states in states_in_turns(quota, list(filter(holds, limits)), now_ms):
        # What was given back may be more than what was used: that is no share below zero.
        shown += (state for state in states if max(0, taken_ppm(state)) >= choice.near_ppm)
    return await asyncio.to_thread(page, shown, choice.after, choice.most)


async def counts_of(
    quota: Quota, rules: Rules, id: str, now_ms: int
) -> tuple[LimitState, int | None]:
    """The state of one limit; of one that counts values apart the fullest, and how many there are.

    Raises ProxyError 404 for an id that no limit has.
    """
    named = [one for one in (*quota.limits(), *rules.configured()) if one.id == id]
    found = list({one.count_id: one for one in named}.values())
    if not found:
        raise _not_found(id, (one.id for one in (*quota.limits(), *rules.configured())))
    apart = [one for one in found if one.value is not None]
    states: list[LimitState] = []
    async for some in states_in_turns(quota, apart or found, now_ms):
        states += some
    return max(states, key=taken_ppm), len(apart) if found[0].dimension is not None else None


async def credit(
    id: str,
    order: CreditOrder,
    quota: Quota,
    ledger: Ledger,
    rules: Rules,
    *,
    zone: ZoneInfo,
    now_ms: int,
    by: str,
) -> Credited:
    """Book a credit to the limit with this id, then count it.

    Raises ProxyError 400 or 404, or LedgerUnavailable; nothing is booked then.
    """
    limit = _limit(id, (*quota.limits(), *rules.configured()))
    amount = _amount(order.amount, limit)
    until_ms = None if order.until is None else _until_ms(order.until, zone, now_ms)
    reason = order.reason.strip()
    if not reason or len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise invalid_request(
            f"A credit needs a reason of up to {REASON_CHARS_MAX} printable characters: it stands "
            "in the book for good.",
            param="reason",
        )
    booked = Credit(
        id=uuid7(now_ms, os.urandom(10)),
        granted_at_ms=now_ms,
        limit_id=limit.id,
        unit=limit.currency if limit.currency is not None else limit.unit,
        amount=amount,
        valid_until_ms=until_ms,
        reason=reason,
        granted_by=by,
    )
    await ledger.credit(booked)
    quota.grant(booked, now_ms)
    state, _ = await counts_of(quota, rules, limit.id, now_ms)
    return Credited(booked.id, show_amount(amount, limit.unit, limit.currency), until_ms, state)


def _limit(id: str, limits: Sequence[Limit]) -> Limit:
    found = {limit.id: limit for limit in limits}
    limit = found.get(id)
    if limit is None:
        raise _not_found(id, found)
    if not limit.windowed:
        raise invalid_request(
            f"{id} is no budget: a rate or a number of slots comes back by itself, and takes no "
            "credit. Change it in the config.",
            param="limit",
        )
    return limit


def _not_found(id: str, known: Iterable[str]) -> ProxyError:
    close = nearest(id, known, NAMES_ALIKE)
    hint = f"; the nearest is {close}" if close is not None else ""
    message = f"There is no limit {id[:200]!r}{hint}. `tollkeeper limit list` names all."
    return ProxyError(404, "invalid_request_error", "limit_not_found", message, param="limit")


def _amount(text: str, limit: Limit) -> int:
    """The amount in the limit's unit, by the language of limits."""
    negative, digits = text.startswith("-"), text.removeprefix("-").strip()
    unit = limit.currency if limit.unit is Unit.MONEY else limit.unit
    try:
        if not _NUMBER.fullmatch(digits):
            raise ValueError("write the number alone, such as 50")
        amount = parse(f"{digits} {unit}/{Per.TOTAL}").amount
    except ValueError as error:
        raise invalid_request(
            f"The amount {text[:40]!r} is not one of {unit}: {error}.", param="amount"
        ) from error
    if amount == 0:
        raise invalid_request("A credit of 0 changes nothing.", param="amount")
    if amount > AMOUNT_MAX:
        most = show_amount(AMOUNT_MAX, limit.unit, limit.currency)
        raise invalid_request(f"One credit can be booked of at most {most}.", param="amount")
    return -amount if negative else amount


def _until_ms(text: str, zone: ZoneInfo, now_ms: int) -> int:
    try:
        until_ms = instant_ms(text, zone.key)
    except ValueError as error:
        raise invalid_request(f"until: {error}.", param="until") from error
    if until_ms <= now_ms:
        raise invalid_request(
            "until: that is past; a credit needs some time to be used in.", param="until"
        )
    return until_ms

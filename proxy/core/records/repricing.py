"""A booked record priced anew: the difference in money becomes an adjustment.

What is booked stands. The record is priced as it stands, with the tokens that late closes gave it
or took back; the new amounts are compared with everything booked for it so far. So whichever
corrections came in whichever order, one more run makes the sum of all of them what the prices of
that run say.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence

import msgspec

from proxy.core.pricing.amounts import Priced
from proxy.core.records.canonical import COUNTED, MEASURES, MONEY
from proxy.core.records.corrections import LATE_CLOSE, derived_id, difference, total
from proxy.core.usage import UsageRecord

RERATE = "rerate"

_TOKENS = tuple(name for name in MEASURES if name not in MONEY)


class Verdict(enum.StrEnum):
    """What pricing a record anew came to."""

    ADJUSTED = "adjusted"  # the amounts differ
    UNCHANGED = "unchanged"
    # The prices do not say what it costs: what was booked stays, known or not.
    UNPRICED = "unpriced"
    # It was booked in another currency than these prices are in: cannot be subtracted.
    OTHER_CURRENCY = "other_currency"


class Repriced(msgspec.Struct, frozen=True):
    """The verdict, and the adjustment that `ADJUSTED` comes with."""

    verdict: Verdict
    adjustment: UsageRecord | None = None


def standing(booked: UsageRecord, corrections: Sequence[UsageRecord]) -> UsageRecord:
    """The record behind all its corrections, in the order they were booked.

    It says what the last late close says, with every number summed up.
    """
    if not corrections:
        return booked
    told = [booked, *(record for record in corrections if record.reason == LATE_CLOSE)]
    everything = [booked, *corrections]
    numbers = {
        name: total(getattr(record, name) for record in everything)
        for name in (*MEASURES, *COUNTED)
    }
    currency = next((record.currency for record in everything if record.currency is not None), None)
    return msgspec.structs.replace(
        told[-1],
        id=booked.id,
        kind=booked.kind,
        adjusts=None,
        reason=booked.reason,
        origin=booked.origin,
        writer=booked.writer,
        currency=currency,
        **numbers,
    )


def reprice(
    booked: UsageRecord,
    corrections: Sequence[UsageRecord],
    now: UsageRecord,
    priced: Priced,
    reason: str = RERATE,
) -> Repriced:
    """The adjustment that makes `now`, a record as it stands, cost what `priced` says.

    `reason` is why. The adjustment's counts are zero where the record's are known: it is about
    money alone. Its id is made from what it is the difference between, so that the same step cannot
    be booked twice, and each of several steps can be.
    """
    if priced.cost_nano is None and priced.charge_nano is None:
        return Repriced(Verdict.UNPRICED)
    before, after = (now.cost_nano, now.charge_nano), (priced.cost_nano, priced.charge_nano)
    if before != (None, None) and now.currency != priced.currency:
        return Repriced(Verdict.OTHER_CURRENCY)
    if all(new is None or new == old for old, new in zip(before, after, strict=True)):
        return Repriced(Verdict.UNCHANGED)
    originals = {
        record.price_currency
        for record in (booked, *corrections)
        if record.cost_original_nano is not None
    }
    comparable = originals <= {priced.price_currency}
    counts = {
        name: None if getattr(now, name) is None else 0
        for name in (*_TOKENS, *COUNTED, "upstream_cost_nano")
    }
    adjustment = msgspec.structs.replace(
        now,
        id=_adjustment_id(booked, corrections, priced),
        writer=RERATE,
        origin=RERATE,
        kind="adjustment",
        adjusts=booked.id,
        reason=reason,
        usage_raw=None,
        cost_nano=difference([before[0]], after[0]),
        charge_nano=difference([before[1]], after[1]),
        cost_original_nano=(
            difference([now.cost_original_nano], priced.cost_original_nano) if comparable else None
        ),
        currency=priced.currency,
        price_version=priced.price_version,
        price_model=priced.price_model,
        price_currency=priced.price_currency,
        fx_rate=priced.fx_rate,
        **counts,
    )
    return Repriced(Verdict.ADJUSTED, adjustment)


def _adjustment_id(booked: UsageRecord, corrections: Sequence[UsageRecord], priced: Priced) -> str:
    """An id of the step, not of the version alone.

    Else going back to earlier prices and forth again would be taken for a repetition.
    """
    steps = [RERATE, booked.id, str(priced.price_version), *(record.id for record in corrections)]
    return derived_id(booked.id, hashlib.sha256("\n".join(steps).encode()).digest())

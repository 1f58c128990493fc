"""A different record under a known id becomes an adjustment; what is booked stands.

It happens when a record was booked from the marks of a dead process and the real ending turns up
later, from a restored journal for example.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from proxy.core.limits.decisions import Used
from proxy.core.records.canonical import COUNTED, MEASURES, MONEY, canonical, row_values
from proxy.core.records.settlement import FORGOTTEN, RECOVERY, weaker
from proxy.core.usage import Source, UsageRecord

LATE_CLOSE = "late_close"
_WEAKNESS = {RECOVERY: 1, FORGOTTEN: 2}  # of origins; all others have seen the end


def same(booked: UsageRecord, late: UsageRecord) -> bool:
    """Whether both say the same.

    They are compared field by field as stored, so that an empty and an absent map are one.
    """
    return row_values(booked, 0, 0) == row_values(late, 0, 0)


def is_weaker(late: UsageRecord, booked: UsageRecord) -> bool:
    """Whether `late` knows less than the booked record, which it then must not correct.

    What an upstream stated is known best. What the proxy saw end is known better than what a
    recovery made of marks, and that better than what was held. Where both are of one kind, the
    sources decide.
    """
    if (late.source is Source.REPORTED) is not (booked.source is Source.REPORTED):
        return booked.source is Source.REPORTED
    weakness = _WEAKNESS.get(late.origin, 0) - _WEAKNESS.get(booked.origin, 0)
    if weakness:
        return weakness > 0
    return weaker(late.source, booked.source) is not booked.source


def late_close_id(late: UsageRecord) -> str:
    """The adjustment's id: the time of the known id, and a digest of the late record.

    The same late record always gives the same id, so a replay adds nothing.
    """
    return derived_id(
        late.id, hashlib.sha256(b"late_close\n" + canonical(row_values(late, 0, 0))).digest()
    )


def derived_id(id: str, digest: bytes) -> str:
    """An adjustment's id: the time of the record's, and a digest of what the adjustment says."""
    stamp = id[:13] if _has_time(id) else "00000000-0000"
    bits = digest[:10].hex()
    variant = "89ab"[digest[10] & 3]
    return f"{stamp}-7{bits[:3]}-{variant}{bits[3:6]}-{bits[6:18]}"


def late_close(
    booked: UsageRecord, corrections: Sequence[UsageRecord], late: UsageRecord
) -> UsageRecord:
    """The adjustment that makes `booked` + earlier late closes + itself say what `late` says.

    `corrections` are all that the record has. Reratings among them stand. But if the record had no
    amount before one of them gave it the first, `late` says what all of them come to.

    It counts where the booked record counts: same key, team, model, upstream and start. Counts and
    amounts are differences, the rest is what `late` says. A number that `late` does not know takes
    nothing back. Amounts in another currency cannot be subtracted: they stay unknown, and the row
    is flagged.
    """
    told = [booked, *(r for r in corrections if r.reason == LATE_CLOSE)]
    everything = [booked, *corrections]
    priced = any(r.cost_nano is not None for r in told)
    numbers: dict[str, int | None] = {}
    for name in (*MEASURES, *COUNTED):
        before = everything if name in MONEY and not priced else told
        numbers[name] = difference([getattr(r, name) for r in before], getattr(late, name))
    currency = next((r.currency for r in everything if r.currency is not None), None)
    mixed = currency is not None and late.currency is not None and currency != late.currency
    if mixed:
        numbers.update(dict.fromkeys(MONEY))
    return msgspec.structs.replace(
        late,
        id=late_close_id(late),
        kind="adjustment",
        adjusts=booked.id,
        reason=LATE_CLOSE,
        started_at_ms=booked.started_at_ms,
        key_id=booked.key_id,
        team=booked.team,
        labels=booked.labels,
        end_user=booked.end_user,
        tags=booked.tags,
        endpoint=booked.endpoint,
        upstream=booked.upstream,
        model_requested=booked.model_requested,
        currency=late.currency if currency is None else currency,
        inconsistent=late.inconsistent or mixed,
        **numbers,
    )


def difference(before: Sequence[int | None], after: int | None) -> int | None:
    """What makes the sum of `before` say `after`.

    All of it where nothing was known, nothing where nothing is known now.
    """
    known = [value for value in before if value is not None]
    if after is None or not known:
        return after
    return after - sum(known)


def total(values: Iterable[int | None]) -> int | None:
    """The sum of the known values; None if none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def used_by(*records: UsageRecord) -> Used:
    """What a record and its corrections say in all was used of limits."""
    return Used(
        input_tokens=total(record.input_tokens for record in records),
        output_tokens=total(record.output_tokens for record in records),
        charge_nano=total(record.charge_nano for record in records),
    )


def _has_time(id: str) -> bool:
    """Whether the id begins like a UUID: eight hex digits, a dash, four more."""
    return (
        len(id) == 36 and id[8] == "-" and all(c in "0123456789abcdef" for c in id[:8] + id[9:13])
    )

"""A credit: an amount by which a limit is higher for a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.limits.limit import Limit

FOR_GOOD: Final = 2**100  # beyond every time


class Credit(msgspec.Struct, frozen=True, gc=False):
    """Raises the limit of a day, week, month or in total by `amount` while it is valid.

    amount · in the limit's unit, of money nano-units; a negative one takes back
    valid_until_ms · None: for the window in which it was granted; for a total, for ever
    unit · a currency for money; a limit that counts in another gets nothing of it; None fits any
    """

    id: str
    limit_id: str
    amount: int
    granted_at_ms: int
    valid_until_ms: int | None = None
    unit: str | None = None
    reason: str | None = None
    granted_by: str | None = None


def room_of(
    limit: Limit, credits: Iterable[Credit], start_ms: int, end_ms: int | None, now_ms: int
) -> tuple[int, int]:
    """How much a budget has in one window with the credits on it, and until when that is so.

    `credits` are those on this limit; end None: the window never ends.
    """
    room, until_ms = limit.amount, FOR_GOOD
    counts_in = limit.unit if limit.currency is None else limit.currency
    for credit in credits:
        if credit.unit is not None and credit.unit != counts_in:
            continue
        if credit.valid_until_ms is None:
            valid = end_ms is None or start_ms <= credit.granted_at_ms < end_ms
        elif valid := now_ms < credit.valid_until_ms:
            until_ms = min(until_ms, credit.valid_until_ms)
        room += credit.amount if valid else 0
    return room, until_ms

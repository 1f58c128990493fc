"""A credit: an amount by which a limit is higher for a time."""

from __future__ import annotations

import msgspec


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

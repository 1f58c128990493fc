"""What the vendors should bill, in the currencies of their prices, summed from the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from proxy.core.calendar import Calendar, Per
from proxy.core.dates import local
from proxy.core.records.canonical import COLUMNS
from proxy.ledger.reading import BookReader, Row, Stretch

_COLUMN: Final = {
    "team": "team",
    "key": "key_id",
    "model": "model_requested",
    "upstream": "upstream",
}
_FORMS: Final = {"day": (Per.DAY, "%Y-%m-%d"), "month": (Per.MONTH, "%Y-%m")}
ORIGINAL_BY: Final = (*_COLUMN, *_FORMS)
_TEAM, _KEY, _STARTED, _CURRENCY, _PRICED_IN, _COST, _ORIGINAL = map(
    COLUMNS.index,
    (
        "team",
        "key_id",
        "started_at_ms",
        "currency",
        "price_currency",
        "cost_nano",
        "cost_original_nano",
    ),
)


class OriginalRow(msgspec.Struct, frozen=True):
    """The costs of one group that were priced in one currency, in nano-units.

    cost_original_nano · in `price_currency`    cost_nano · the same in `currency`
    None: no row says it, as of entries that were booked before prices were exchanged.
    """

    names: tuple[str | None, ...]
    price_currency: str | None
    currency: str | None
    cost_original_nano: int | None
    cost_nano: int | None

    def flat(self, by: Sequence[str]) -> dict[str, str | int | None]:
        """The row as one mapping, the groups' names first."""
        return {
            **dict(zip(by, self.names, strict=True)),
            "cost_original_nano": self.cost_original_nano,
            "price_currency": self.price_currency,
            "cost_nano": self.cost_nano,
            "currency": self.currency,
        }


def original_costs(
    reader: BookReader,
    by: Sequence[str],
    bounds: tuple[int | None, int | None],
    zone: ZoneInfo,
    *,
    team: str | None = None,
    key: str | None = None,
    through: int | None = None,
) -> list[OriginalRow]:
    """Sum the costs of records started in [from_ms, to_ms) by group and currency, sorted.

    `by` names any of ORIGINAL_BY. Raises what the reader raises.
    """
    head = reader.head() if through is None else through
    stretch = Stretch(through=head, from_ms=bounds[0], to_ms=bounds[1])
    calendar = Calendar(zone)
    sums: dict[tuple[str | None, ...], list[int | None]] = {}

    def name(row: Row, group: str) -> str | None:
        if group in _COLUMN:
            value = row[COLUMNS.index(_COLUMN[group])]
            return None if value is None else str(value)
        per, form = _FORMS[group]
        started_ms = row[_STARTED]
        assert isinstance(started_ms, int), "a time"
        return local(calendar.window(per, started_ms).start_ms, zone).strftime(form)

    for page in reader.pages(reader.narrowed(stretch)):
        for row in page.rows:
            if team not in (None, row[_TEAM]) or key not in (None, row[_KEY]):
                continue
            if row[_COST] is None and row[_ORIGINAL] is None:
                continue
            currencies = (row[_PRICED_IN], row[_CURRENCY])
            texts = (None if code is None else str(code) for code in currencies)
            line = sums.setdefault((*(name(row, group) for group in by), *texts), [None, None])
            for place, value in enumerate((row[_ORIGINAL], row[_COST])):
                if isinstance(value, int):
                    line[place] = (line[place] or 0) + value
    found = []
    for group in sorted(sums, key=lambda names: [(n is not None, n or "") for n in names]):
        *names, price_currency, currency = group
        original_nano, cost_nano = sums[group]
        found.append(OriginalRow(tuple(names), price_currency, currency, original_nano, cost_nano))
    return found

"""Sums booked rows by group and currency, as `usage` sums the ledger.

A record that was booked without a price counts under the currency of the price that came later,
where both are summed here (see `proxy.ledger.late_prices`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Final, TypeAlias

from proxy.core.records.canonical import COLUMNS, Value

SUMS: Final = (
    "requests",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "reasoning_tokens",
    "searches",
    "cost_nano",
    "charge_nano",
    "reported_requests",
    "unpriced_requests",
    "inconsistent_requests",
)
_UNPRICED: Final = SUMS.index("unpriced_requests")
_STORED: Final = itemgetter(*(COLUMNS.index(name) for name in SUMS[1:10]))
_ID, _KIND, _ADJUSTS, _STARTED, _CURRENCY, _COST, _SOURCE, _DOUBT = map(
    COLUMNS.index,
    (
        "id",
        "kind",
        "adjusts",
        "started_at_ms",
        "currency",
        "cost_nano",
        "source",
        "inconsistent",
    ),
)
_COLUMN: Final = {"team": "team", "key": "key_id", "model": "model_requested"}

TallyRow: TypeAlias = dict[str, str | int | None]
_Group: TypeAlias = tuple[Value, ...]
_Sums: TypeAlias = tuple[int | None, ...]


class Tally:
    """Sums by names among `team`, `key`, `model`, and `month` where `month_of` names it.

    `month_of` takes the start of a request in Unix milliseconds.
    """

    def __init__(self, by: Sequence[str], month_of: Callable[[int], str] | None = None) -> None:
        self._by = by
        self._month_of = month_of
        self._places = [COLUMNS.index(_COLUMN[name]) for name in by if name in _COLUMN]
        assert (month_of is not None) == ("month" in by), "a month has to be named"
        self._lines: dict[_Group, list[int | None]] = {}
        # What was booked for records that have no price yet.
        self._waiting: dict[Value, list[tuple[_Group, _Sums]]] = {}

    def add(self, row: Sequence[Value]) -> None:
        """Count one row of the ledger, in the order of `canonical.COLUMNS`."""
        names = tuple(row[place] for place in self._places)
        started_ms = row[_STARTED]
        assert isinstance(started_ms, int), "a time"
        if self._month_of is not None:
            names = (self._month_of(started_ms), *names)
        group, sums = (*names, row[_CURRENCY]), _sums(row)
        self._put(group, sums, 1)
        if row[_KIND] == "usage":
            if row[_COST] is None:
                self._waiting[row[_ID]] = [(group, sums)]
        elif row[_ADJUSTS] in self._waiting:
            self._correct(row, group, sums)

    def rows(self) -> list[TallyRow]:
        """A line for each group and currency in which something was counted, sorted."""
        width = len(self._by)
        found: list[TallyRow] = []
        for group, sums in sorted(self._lines.items(), key=_in_order):
            if any(sums):
                names: TallyRow = {}
                for name, value in zip(self._by, group, strict=False):
                    assert not isinstance(value, bytes), "a name"
                    names[name] = value
                currency = group[width]
                assert currency is None or isinstance(currency, str), "a code"
                found.append({**names, **dict(zip(SUMS, sums, strict=True)), "currency": currency})
        return found

    def _correct(self, row: Sequence[Value], group: _Group, sums: _Sums) -> None:
        """A correction of a record without a price; the first price takes the record with it."""
        before = self._waiting[row[_ADJUSTS]]
        if row[_COST] is None:
            before.append((group, sums))
            return
        del self._waiting[row[_ADJUSTS]]
        for place, counted in before:
            self._put(place, counted, -1)
            priced = [*counted]
            priced[_UNPRICED] = 0
            self._put((*place[:-1], row[_CURRENCY]), tuple(priced), 1)

    def _put(self, group: _Group, sums: _Sums, sign: int) -> None:
        line = self._lines.get(group)
        if line is None:
            line = self._lines[group] = [None] * len(SUMS)
        for place, value in enumerate(sums):
            if value is not None:
                line[place] = (line[place] or 0) + sign * value


def unpriced(rows: Iterable[TallyRow]) -> int:
    """How many requests in these lines have no price."""
    return sum(int(row["unpriced_requests"] or 0) for row in rows)


def _sums(row: Sequence[Value]) -> _Sums:
    """What a row adds to each of SUMS."""
    usage = row[_KIND] == "usage"
    return (
        int(usage),
        *_STORED(row),
        int(usage and row[_SOURCE] == "reported"),
        int(usage and row[_COST] is None),
        int(usage and row[_DOUBT] == 1),
    )


def _in_order(line: tuple[_Group, object]) -> list[tuple[bool, str]]:
    """Unknown names come first."""
    return [(name is not None, str(name)) for name in line[0]]

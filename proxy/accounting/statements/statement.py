"""Reads a month of the ledger as one statement: totals, prices, corrections, credits, refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.export.usage import with_totals
from proxy.accounting.statements.gone import Gone, gone
from proxy.core import dates
from proxy.core.calendar import Calendar, Per
from proxy.core.limits.credit import Credit
from proxy.core.records.anchors import Anchor
from proxy.core.records.canonical import COLUMNS, Value
from proxy.core.statements.closing import Closing, Closings
from proxy.core.statements.tally import Tally
from proxy.ledger import LedgerError
from proxy.ledger.reading import BookReader, RefusalSum, Row, Stretch, UsageRow

BY = ("team", "key", "model")
LATE_BY = ("month", *BY)
LABELS_MAX = 20  # different sets of labels that one team's records may show
_CREDITS_PAGE = 500
_PLACE = {name: place for place, name in enumerate(COLUMNS)}
_TEAM, _STARTED, _SEQ = (_PLACE[name] for name in ("team", "started_at_ms", "seq"))


class PriceUse(msgspec.Struct, frozen=True, gc=False):
    """How many records were priced by one row of one version of the prices."""

    version: str
    model: str | None
    upstream: str
    records: int


class Correction(msgspec.Struct, frozen=True, gc=False):
    """What the adjustments of one reason come to; their sums are in the totals already.

    They count in `month`. The sums are billionths of the currency; None: none of them changed it.
    """

    month: str
    reason: str | None
    currency: str | None
    records: int
    cost_nano: int | None
    charge_nano: int | None


class Due(msgspec.Struct, frozen=True, gc=False):
    """What a statement comes to in one currency, corrections of earlier months included.

    The amounts are billionths; None: none is known.
    """

    currency: str | None
    cost_nano: int | None
    charge_nano: int | None


class MonthStatement(msgspec.Struct, frozen=True, kw_only=True):
    """One month as the ledger stood when its last record was the one with seq `through`.

    rows · as `usage --by team,key,model` gives them, totals last: what started in the month
    earlier · the same by month too: what was booked late for months that are closed
    due · both together
    team · None: all    hash · of the record `through`, 64 hex digits; None for an empty ledger
    labels · by team, the sets of labels that its records have; at most LABELS_MAX a team
    prices, corrections · of all that is counted here
    credits and refusals are those of the month, as they are known now
    apart · teams that have a statement of their own for this month, with its number
    open_earlier · months before this one that are not closed; their statements have what is late

    Of a closed month, else None:

    number · of the statement    previous · the digest of the statement before it
    forced · what was open and was let pass    anchor · where the chains of the ledger ended
    closed_at_ms, closed_by · when it was closed, in Unix milliseconds, and by whom
    """

    ledger: str
    month: str
    timezone: str
    team: str | None
    from_ms: int
    to_ms: int
    through: int
    hash: str | None
    rows: list[UsageRow]
    earlier: list[UsageRow]
    due: list[Due]
    labels: dict[str, list[dict[str, str]]]
    prices: list[PriceUse]
    corrections: list[Correction]
    credits: list[Credit]
    refusals: list[RefusalSum]
    apart: dict[str, int] = {}
    open_earlier: list[str] = []
    number: int | None = None
    previous: str | None = None
    forced: list[str] = []
    anchor: Anchor | None = None
    closed_at_ms: int | None = None
    closed_by: str | None = None


def read_statement(
    reader: BookReader,
    start: datetime,
    end: datetime,
    zone: ZoneInfo,
    *,
    team: str | None = None,
    through: int | None = None,
    closings: Sequence[Closing] = (),
) -> MonthStatement:
    """The statement of the month [start, end), without what one of `closings` counts already.

    With the same `through` and `closings`, its totals, prices and corrections are the same whenever
    it is read. Raises LedgerError for a `through` behind the end of the ledger, and what the reader
    raises.
    """
    head = reader.head()
    last = head if through is None else through
    if last > head:
        raise LedgerError(f"the ledger {reader.name} ends at seq {head}, before {last}")
    from_ms, to_ms = dates.range_ms(start, end)
    assert from_ms is not None and to_ms is not None, "a month has both ends"
    closed = Closings(closings)
    before = closed.last_over(team)
    seen = _Seen(team, from_ms, _begin_ms(before, start, from_ms), closed, zone)
    left = gone(reader.archives(), zone)
    for stretch in _stretches(before, last, from_ms, to_ms, left):
        for page in reader.pages(reader.narrowed(stretch)):
            seen.add(page.rows)
    rows, late = seen.month.rows(), [] if seen.open_earlier else seen.late.rows()
    keys = {row["key"] for row in rows}
    month = f"{start:%Y-%m}"
    return MonthStatement(
        ledger=reader.name,
        month=month,
        timezone=zone.key,
        team=team,
        from_ms=from_ms,
        to_ms=to_ms,
        through=last,
        hash=_hash(reader, last),
        rows=with_totals(rows, BY),
        earlier=with_totals(late, LATE_BY),
        due=_due([*rows, *late]),
        labels=seen.labels,
        prices=seen.prices(),
        corrections=seen.corrections(),
        credits=[
            credit
            for credit in _credits(reader, from_ms, to_ms)
            if team is None or _concerns(credit, team, keys)
        ],
        refusals=[row for row in reader.refusals(from_ms, to_ms) if team in (None, row.team)],
        apart={} if team else {str(c.team): c.number for c in closed.apart(month)},
        open_earlier=sorted(seen.open_earlier),
    )


def _begin_ms(before: Closing | None, start: datetime, from_ms: int) -> int:
    """From when on what started is of this month.

    Where the rules of its zone have changed since, the month before was closed up to another
    moment. What started between the two would be of no month that can be closed.
    """
    follows = before is not None and before.month == f"{start - timedelta(days=1):%Y-%m}"
    return min(from_ms, before.to_ms) if before is not None and follows else from_ms


def _stretches(
    before: Closing | None, through: int, from_ms: int, to_ms: int, left: Gone
) -> Iterator[Stretch]:
    """Where the records are that a statement may count, each in one stretch.

    `before` is the statement that reaches furthest in time. What is late for it was booked behind
    its end. What has left the ledger without a statement is in none.
    """
    if before is None or before.to_ms >= to_ms:
        yield Stretch(through=through, from_ms=from_ms, to_ms=to_ms)
        return
    since_ms = before.to_ms
    if left.until_ms is not None:
        since_ms = max(since_ms, min(left.until_ms, from_ms))
    yield Stretch(through=through, from_ms=since_ms, to_ms=to_ms)
    after = max(before.through, left.through)
    if after < through:
        yield Stretch(after=after, through=through, to_ms=before.to_ms)


def _due(rows: Sequence[UsageRow]) -> list[Due]:
    found: dict[str | None, list[int | None]] = {}
    for row in rows:
        currency = row["currency"]
        assert currency is None or isinstance(currency, str), "a code"
        sums = found.setdefault(currency, [None, None])
        for place, name in enumerate(("cost_nano", "charge_nano")):
            if isinstance(value := row[name], int):
                sums[place] = (sums[place] or 0) + value
    return [
        Due(currency, *found[currency])
        for currency in sorted(found, key=lambda code: code or "")
        if found[currency] != [None, None]
    ]


class _Seen:
    """What is counted record by record: of the month, and late of months that are closed."""

    def __init__(
        self, team: str | None, from_ms: int, begin_ms: int, closed: Closings, zone: ZoneInfo
    ) -> None:
        """`begin_ms`: from when on what started is of the month, which is that of `from_ms`."""
        self._team = team
        self._begin_ms = begin_ms
        self._closed = closed
        calendar = Calendar(zone)

        def month_of(at_ms: int) -> str:
            start_ms = calendar.window(Per.MONTH, at_ms).start_ms
            return f"{dates.local(start_ms, zone):%Y-%m}"

        self._month_of = month_of
        self._month = month_of(from_ms)
        self.month = Tally(BY)
        self.late = Tally(LATE_BY, month_of)
        self.open_earlier: set[str] = set()
        self._prices: dict[tuple[Value, ...], int] = {}
        self._corrections: dict[tuple[str, Value, Value], list[int | None]] = {}
        self._labels: dict[tuple[Value, Value], None] = {}
        self.labels: dict[str, list[dict[str, str]]] = {}

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            month = self._counted(row)
            if month is None:
                continue
            if row[_PLACE["kind"]] == "adjustment":
                self._correct(month, row)
            if month != self._month:
                continue
            if row[_PLACE["price_version"]] is not None:
                name = tuple(
                    row[_PLACE[part]] for part in ("price_version", "price_model", "upstream")
                )
                self._prices[name] = self._prices.get(name, 0) + 1
            self._label(row[_PLACE["team"]], row[_PLACE["labels"]])

    def _counted(self, row: Row) -> str | None:
        """Sum the row up if this statement counts it, and say in which month; else None."""
        team, started_ms, seq = row[_TEAM], row[_STARTED], row[_SEQ]
        assert team is None or isinstance(team, str), "a name"
        assert isinstance(started_ms, int) and isinstance(seq, int), "numbers"
        if self._team not in (None, team) or self._closed.taken(team, started_ms, seq):
            return None
        if started_ms >= self._begin_ms:
            self.month.add(row)
            return self._month
        month = self._month_of(started_ms)
        if not self._closed.is_late(team, started_ms):
            self.open_earlier.add(month)
            return None
        self.late.add(row)
        return month

    def prices(self) -> list[PriceUse]:
        """Sorted by model, upstream and version."""
        found = [
            PriceUse(str(version), None if model is None else str(model), str(upstream), records)
            for (version, model, upstream), records in self._prices.items()
        ]
        return sorted(found, key=lambda one: (one.model or "", one.upstream, one.version))

    def corrections(self) -> list[Correction]:
        """Sorted by month, reason and currency. Those of earlier months go with `late`."""
        found = [
            Correction(
                month,
                None if reason is None else str(reason),
                None if currency is None else str(currency),
                sums[0] or 0,
                sums[1],
                sums[2],
            )
            for (month, reason, currency), sums in self._corrections.items()
            if month == self._month or not self.open_earlier
        ]
        return sorted(found, key=lambda one: (one.month, one.reason or "", one.currency or ""))

    def _correct(self, month: str, row: Row) -> None:
        sums = self._corrections.setdefault(
            (month, row[_PLACE["reason"]], row[_PLACE["currency"]]), [0, None, None]
        )
        for place, value in enumerate((1, row[_PLACE["cost_nano"]], row[_PLACE["charge_nano"]])):
            if isinstance(value, int):
                sums[place] = (sums[place] or 0) + value

    def _label(self, team: Value, stored: Value) -> None:
        if not isinstance(team, str) or not isinstance(stored, str) or stored == "{}":
            return
        known = self.labels.setdefault(team, [])
        if (team, stored) not in self._labels and len(known) < LABELS_MAX:
            self._labels[(team, stored)] = None
            known.append(msgspec.json.decode(stored, type=dict[str, str]))


def _hash(reader: BookReader, seq: int) -> str | None:
    """The hash of the record with this seq, or of the last one before it."""
    found: bytes | None = None
    for page in reader.pages(Stretch(after=max(seq - 1, 0), through=seq)):
        for row in page.rows:
            value = row[_PLACE["hash"]]
            found = value if isinstance(value, bytes) else found
    return None if found is None else found.hex()


def _credits(reader: BookReader, from_ms: int, to_ms: int) -> Iterator[Credit]:
    """The credits that were given in [from_ms, to_ms), the newest first."""
    after: str | None = None
    while page := reader.credits(None, after, _CREDITS_PAGE):
        yield from (credit for credit in page if from_ms <= credit.granted_at_ms < to_ms)
        if page[-1].granted_at_ms < from_ms:
            return
        after = page[-1].id


def _concerns(credit: Credit, team: str, keys: set[str | int | None]) -> bool:
    """Whether the limit is the team's own, or one of a key that used something."""
    scope, _, rest = credit.limit_id.partition(":")
    owner = rest.partition("/")[0]
    return (scope == "team" and owner == team) or (scope == "key" and owner in keys)

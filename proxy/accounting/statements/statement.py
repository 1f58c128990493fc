"""Reads a month of the ledger as one statement: totals, prices, corrections, credits, refusals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.export.usage import with_totals
from proxy.core import dates
from proxy.core.limits.credit import Credit
from proxy.core.records.canonical import COLUMNS, Value
from proxy.ledger import LedgerError
from proxy.ledger.reading import BookReader, RefusalSum, Row, Stretch, UsageRow

BY = ("team", "key", "model")
LABELS_MAX = 20  # different sets of labels that one team's records may show
_CREDITS_PAGE = 500
_PLACE = {name: place for place, name in enumerate(COLUMNS)}


class PriceUse(msgspec.Struct, frozen=True, gc=False):
    """How many records were priced by one row of one version of the prices."""

    version: str
    model: str | None
    upstream: str
    records: int


class Correction(msgspec.Struct, frozen=True, gc=False):
    """What the adjustments of one reason come to; their sums are in the totals already.

    The sums are billionths of the currency; None: none of them changed it.
    """

    reason: str | None
    currency: str | None
    records: int
    cost_nano: int | None
    charge_nano: int | None


class MonthStatement(msgspec.Struct, frozen=True):
    """One month as the ledger stood when its last record was the one with seq `through`.

    rows · as `usage --by team,key,model` gives them, totals last
    team · None: all    hash · of the record `through`, 64 hex digits; None for an empty ledger
    labels · by team, the sets of labels that its records have; at most LABELS_MAX a team
    credits and refusals are those of the month, as they are known now
    """

    ledger: str
    month: str
    timezone: str
    team: str | None
    through: int
    hash: str | None
    rows: list[UsageRow]
    labels: dict[str, list[dict[str, str]]]
    prices: list[PriceUse]
    corrections: list[Correction]
    credits: list[Credit]
    refusals: list[RefusalSum]


def read_statement(
    reader: BookReader,
    start: datetime,
    end: datetime,
    zone: ZoneInfo,
    *,
    team: str | None = None,
    through: int | None = None,
) -> MonthStatement:
    """The statement of the month [start, end).

    With the same `through`, its totals, prices and corrections are the same whenever it is read.
    Raises LedgerError for a `through` behind the end of the ledger, and what the reader raises.
    """
    head = reader.head()
    last = head if through is None else through
    if last > head:
        raise LedgerError(f"the ledger {reader.name} ends at seq {head}, before {last}")
    from_ms, to_ms = dates.range_ms(start, end)
    assert from_ms is not None and to_ms is not None, "a month has both ends"
    usage = reader.usage(BY, from_ms, to_ms, zone, team=team, through=last)
    seen = _Seen(team)
    for page in reader.pages(reader.narrowed(Stretch(through=last, from_ms=from_ms, to_ms=to_ms))):
        seen.add(page.rows)
    keys = {row["key"] for row in usage}
    return MonthStatement(
        ledger=reader.name,
        month=f"{start:%Y-%m}",
        timezone=zone.key,
        team=team,
        through=last,
        hash=_hash(reader, last),
        rows=with_totals(usage, BY),
        labels=seen.labels,
        prices=seen.prices(),
        corrections=seen.corrections(),
        credits=[
            credit
            for credit in _credits(reader, from_ms, to_ms)
            if team is None or _concerns(credit, team, keys)
        ],
        refusals=[row for row in reader.refusals(from_ms, to_ms) if team in (None, row.team)],
    )


class _Seen:
    """What is counted record by record."""

    def __init__(self, team: str | None) -> None:
        self._team = team
        self._prices: dict[tuple[Value, ...], int] = {}
        self._corrections: dict[tuple[Value, Value], list[int | None]] = {}
        self._labels: dict[tuple[Value, Value], None] = {}
        self.labels: dict[str, list[dict[str, str]]] = {}

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if self._team not in (None, row[_PLACE["team"]]):
                continue
            if row[_PLACE["price_version"]] is not None:
                name = tuple(
                    row[_PLACE[part]] for part in ("price_version", "price_model", "upstream")
                )
                self._prices[name] = self._prices.get(name, 0) + 1
            if row[_PLACE["kind"]] == "adjustment":
                self._correct(row)
            self._label(row[_PLACE["team"]], row[_PLACE["labels"]])

    def prices(self) -> list[PriceUse]:
        """Sorted by model, upstream and version."""
        found = [
            PriceUse(str(version), None if model is None else str(model), str(upstream), records)
            for (version, model, upstream), records in self._prices.items()
        ]
        return sorted(found, key=lambda one: (one.model or "", one.upstream, one.version))

    def corrections(self) -> list[Correction]:
        """Sorted by reason and currency."""
        found = [
            Correction(
                None if reason is None else str(reason),
                None if currency is None else str(currency),
                sums[0] or 0,
                sums[1],
                sums[2],
            )
            for (reason, currency), sums in self._corrections.items()
        ]
        return sorted(found, key=lambda one: (one.reason or "", one.currency or ""))

    def _correct(self, row: Row) -> None:
        sums = self._corrections.setdefault(
            (row[_PLACE["reason"]], row[_PLACE["currency"]]), [0, None, None]
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

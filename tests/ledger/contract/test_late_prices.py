"""What a late price moves: requests, tokens and money of a record stand on one line, and what is
unpriced is unpriced now.

Histories of records, late closes and reratings are booked in any batches, and summed by hand from
the rows of the book.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.pricing.amounts import Priced
from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.records.repricing import reprice, standing
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.ledger import Batch
from proxy.ledger.reading import Stretch, UsageRow
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record, numbered
from tests.support.effort import examples

DAY_MS = 86_400_000


TOKENS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "reasoning_tokens",
    "searches",
)


SUMMED = (*TOKENS, "cost_nano", "charge_nano")


ZONE = ZoneInfo("Asia/Kathmandu")


KINDS = {
    "team": lambda r: r.team,
    "key": lambda r: r.key_id,
    "model": lambda r: r.model_requested,
    "label:env": lambda r: r.labels.get("env"),
    "source": lambda r: r.source.value,
    "outcome": lambda r: r.outcome.value,
    "day": lambda r: datetime.fromtimestamp(r.started_at_ms // 1000, ZONE).date().isoformat(),
}


def by_hand(
    book: Sequence[UsageRecord], by: Sequence[str]
) -> dict[tuple[str | None, ...], dict[str, int | None]]:
    """Each record with its corrections on one line: that of the currency it was priced in, when it
    was priced at last."""
    lines: dict[tuple[str | None, ...], list[UsageRecord]] = {}
    unpriced: dict[tuple[str | None, ...], int] = {}
    for usage in (record for record in book if record.kind == "usage"):
        chain = [record for record in book if usage.id in (record.id, record.adjusts)]
        first = next((n for n, record in enumerate(chain) if record.cost_nano is not None), None)
        for n, record in enumerate(chain):
            currency = chain[first].currency if first is not None and n < first else record.currency
            line = (*(KINDS[name](usage) for name in by), currency)
            lines.setdefault(line, []).append(record)
            unpriced[line] = unpriced.get(line, 0) + (record is usage and first is None)
    return {
        line: {
            "requests": sum(r.kind == "usage" for r in members),
            "reported_requests": sum(
                r.kind == "usage" and r.source is Source.REPORTED for r in members
            ),
            "unpriced_requests": unpriced[line],
            **{name: total([getattr(r, name) for r in members]) for name in SUMMED},
        }
        for line, members in lines.items()
    }


def total(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def said(found: Sequence[UsageRow], by: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    names = ("requests", "reported_requests", "unpriced_requests", *SUMMED)
    return {
        (*(row[name] for name in by), row["currency"]): {name: row[name] for name in names}
        for row in found
    }


def zero_is_none(
    sums: dict[tuple[Any, ...], dict[str, Any]],
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What is known to be nothing on an unpriced line may have been moved away: it was not known to
    be there."""
    return {
        line: {name: value or None for name, value in numbers.items()}
        for line, numbers in sums.items()
        if any(numbers.values())
    }


class Life:
    """A book, and what happens to its records."""

    def __init__(self, book: BookUnderTest) -> None:
        self.of = book
        self.booked = 0

    def book(self, now_ms: int, *batch: UsageRecord) -> None:
        self.of.batch(Batch("w0", numbered(*batch, after=self.booked)), now_ms=now_ms)
        self.booked += len(batch)

    def rerate(self, now_ms: int, prices: dict[str, Priced]) -> None:
        """Each of these records at these prices, in one batch."""
        book = self.records()
        found = []
        for id, priced in prices.items():
            usage, *corrections = (record for record in book if id in (record.id, record.adjusts))
            adjustment = reprice(
                usage, corrections, standing(usage, corrections), priced
            ).adjustment
            found += [] if adjustment is None else [adjustment]
        self.of.adjust(found, now_ms=now_ms)

    def records(self) -> list[UsageRecord]:
        reader = self.of.reader()
        return [
            record_from(dict(zip(COLUMNS, row, strict=True)))
            for page in reader.pages(Stretch(through=reader.head()))
            for row in page.rows
        ]


def _usage(n: int) -> st.SearchStrategy[UsageRecord]:
    count = st.none() | st.integers(0, 50)
    return st.builds(
        make_record,
        n=st.just(n),
        started_at_ms=st.integers(START_MS, START_MS + 3 * DAY_MS),
        team=st.sampled_from(["a", "b"]),
        labels=st.sampled_from([{}, {"env": "x"}]),
        source=st.sampled_from([Source.REPORTED, Source.ESTIMATED]),
        outcome=st.sampled_from([Outcome.COMPLETED, Outcome.INTERRUPTED]),
        output_tokens=count,
        cached_tokens=count,
    )


def _priced(cost: int | None, currency: str) -> dict[str, Any]:
    return {"cost_nano": cost, "charge_nano": cost, "currency": None if cost is None else currency}


_COST = st.none() | st.integers(0, 9)


_CURRENCY = st.sampled_from(["USD", "USD", "EUR"])


def live(data: st.DataObject, life: Life) -> None:
    """Some steps: new records, other endings of known ones, new prices."""
    n = 0
    for _ in range(data.draw(st.integers(1, 7))):
        now_ms = START_MS + data.draw(st.integers(0, 5 * DAY_MS))
        step = data.draw(st.sampled_from(["book", "late", "rerate"])) if n else "book"
        if step == "book":
            size = data.draw(st.integers(1, 4))
            fresh = [data.draw(_usage(i)) for i in range(n, n + size)]
            life.book(
                now_ms,
                *(msgspec.structs.replace(r, **_priced(data.draw(_COST), "USD")) for r in fresh),
            )
            n += size
        elif step == "late":
            some = data.draw(_usage(data.draw(st.integers(0, n - 1))))
            life.book(
                now_ms,
                msgspec.structs.replace(some, **_priced(data.draw(_COST), data.draw(_CURRENCY))),
            )
        else:
            ids = data.draw(st.lists(st.integers(0, n - 1), max_size=4, unique=True))
            currency = data.draw(_CURRENCY)
            life.rerate(
                now_ms,
                {
                    make_id(i): Priced(price_version="v", **_priced(data.draw(_COST), currency))
                    for i in ids
                },
            )


# Each example clears the ledger that it was given.
ONE_BOOK = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=examples(30), suppress_health_check=ONE_BOOK)
@given(st.data())
def test_whatever_was_priced_when_a_line_has_its_requests_tokens_and_money(
    ledgers: BookUnderTest, data: st.DataObject
) -> None:
    check_a_history(ledgers, data)


@pytest.mark.campaign
@settings(max_examples=3_000, suppress_health_check=ONE_BOOK)
@given(st.data())
def test_thousands_of_histories_of_late_prices(ledgers: BookUnderTest, data: st.DataObject) -> None:
    check_a_history(ledgers, data)


def check_a_history(ledgers: BookUnderTest, data: st.DataObject) -> None:
    by = data.draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=2, unique=True))
    bound = st.none() | st.integers(START_MS - 1000, START_MS + 3 * DAY_MS)
    from_ms, to_ms = data.draw(bound), data.draw(bound)
    with ledgers.cleared() as book:
        life = Life(book)
        live(data, life)
        ranged = [
            r for r in life.records()
            if (from_ms is None or r.started_at_ms >= from_ms) and (to_ms is None or r.started_at_ms < to_ms)
        ]  # fmt: skip
        found = book.reader().usage(by, from_ms, to_ms, ZONE)
        assert zero_is_none(said(found, by)) == zero_is_none(by_hand(ranged, by))
        assert all(row["requests"] for row in found), "no money without requests"
        book.agree()


@pytest.fixture
def life(ledgers: BookUnderTest) -> Life:
    return Life(ledgers)


def test_a_month_whose_price_came_late(life: Life) -> None:
    """One line before and after: requests without a price, then requests with one."""
    life.book(START_MS, *map(make_record, range(3)))
    queries = life.of.reader()
    [before] = queries.usage(["team"], None, None, UTC)
    assert (
        before["requests"],
        before["unpriced_requests"],
        before["charge_nano"],
        before["currency"],
    ) == (3, 3, None, None)
    life.rerate(
        START_MS + DAY_MS,
        {make_id(n): Priced(price_version="v", **_priced(7, "USD")) for n in range(2)},
    )
    first, second = queries.usage(["team"], None, None, UTC)
    assert (
        first["currency"],
        first["requests"],
        first["unpriced_requests"],
        first["input_tokens"],
    ) == (None, 1, 1, 100)
    assert (
        second["currency"],
        second["requests"],
        second["unpriced_requests"],
        second["input_tokens"],
    ) == ("USD", 2, 0, 200)
    life.rerate(START_MS + DAY_MS, {make_id(2): Priced(price_version="v", **_priced(0, "USD"))})
    [after] = queries.usage(["team"], None, None, UTC)
    assert (
        after["requests"],
        after["unpriced_requests"],
        after["charge_nano"],
        after["currency"],
    ) == (3, 0, 14, "USD"), "free is a price"
    assert queries.usage(["team"], START_MS, START_MS + 1, UTC) == [after], (
        "a part of a quarter hour is read from the records"
    )

"""What a late price moves: requests, tokens and money of a record stand on one line, and what is
unpriced is unpriced now.

Histories of records, late closes and reratings are booked in any batches, and summed by hand from
the rows of the book.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.pricing.amounts import Priced
from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.records.repricing import reprice, standing
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.ledger import Batch, connect_reader
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.late_prices import counted, moved
from proxy.ledger.sqlite.schema import MIGRATIONS
from proxy.ledger.sqlite.sums import BUCKET_MS, FIRST_SUMS, GROUPS, MORE_SUMS, SUMS, WIDE
from proxy.ledger.sqlite.usage import UsageRow
from tests.ledger.samples import START_MS, make_id, make_record, numbered, open_book, rows
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

    def __init__(self, path: Path) -> None:
        self.connection, _ = open_book(path)
        self.booked = 0

    def close(self) -> None:
        self.connection.close()

    def book(self, now_ms: int, *batch: UsageRecord) -> None:
        Booker(self.connection, bytes(32), lambda: now_ms).book(
            Batch("w0", numbered(*batch, after=self.booked))
        )
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
        Booker(self.connection, bytes(32), lambda: now_ms).adjust(found)

    def records(self) -> list[UsageRecord]:
        stored = rows(self.connection, f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY seq")
        return [record_from(dict(zip(COLUMNS, row, strict=True))) for row in stored]


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


@settings(max_examples=examples(30), deadline=None)
@given(st.data())
def test_whatever_was_priced_when_a_line_has_its_requests_tokens_and_money(
    data: st.DataObject,
) -> None:
    check_a_history(data)


@pytest.mark.campaign
@settings(max_examples=3_000, deadline=None)
@given(st.data())
def test_thousands_of_histories_of_late_prices(data: st.DataObject) -> None:
    check_a_history(data)


def check_a_history(data: st.DataObject) -> None:
    by = data.draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=2, unique=True))
    bound = st.none() | st.integers(START_MS - 1000, START_MS + 3 * DAY_MS)
    from_ms, to_ms = data.draw(bound), data.draw(bound)
    with (
        tempfile.TemporaryDirectory() as directory,
        contextlib.closing(Life(Path(directory) / "ledger.db")) as life,
    ):
        live(data, life)
        ranged = [
            r for r in life.records()
            if (from_ms is None or r.started_at_ms >= from_ms) and (to_ms is None or r.started_at_ms < to_ms)
        ]  # fmt: skip
        found = connect_reader("sqlite:ledger.db", Path(directory)).usage(by, from_ms, to_ms, ZONE)
        assert zero_is_none(said(found, by)) == zero_is_none(by_hand(ranged, by))
        assert all(row["requests"] for row in found), "no money without requests"
        agree(life.connection)
        as_of_version_3(life.connection)
        agree(life.connection)


def agree(connection: sqlite3.Connection) -> None:
    """Quarter hours and wide spans say what the records and their moves say."""
    names, sums = ", ".join(GROUPS), ", ".join(f"sum({name})" for name, _ in SUMS)
    plain = [f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"]
    source = counted(plain, GROUPS, SUMS, lambda name, expression: f"{expression} AS {name}", "1")
    slow = f"SELECT bucket_ms, {names}, {sums} FROM ({source}) GROUP BY bucket_ms, {names}"
    assert set(
        rows(connection, f"SELECT bucket_ms, {names}, {', '.join(n for n, _ in SUMS)} FROM rollups")
    ) == set(rows(connection, slow))
    halves = ", ".join(
        f"sum({n}_high * 4294967296 + {n}_low)" if n.endswith("_nano") else f"sum({n})"
        for n, _ in SUMS
    )
    for table, _ in WIDE:
        wide = f"SELECT {names}, {halves} FROM {table} JOIN rollup_groups AS g ON g.id = group_id GROUP BY {names}"
        narrow = f"SELECT {names}, {sums} FROM rollups WHERE bucket_ms < (SELECT folded_until_ms FROM fold) GROUP BY {names}"
        assert set(rows(connection, wide)) == set(rows(connection, narrow)), table


def as_of_version_3(connection: sqlite3.Connection) -> None:
    """Roll-ups as a version made them that moved nothing, brought to this one."""
    names, sums = ", ".join(GROUPS), ", ".join(f"sum({expression})" for _, expression in FIRST_SUMS)
    for name, _ in MORE_SUMS:
        connection.execute(f"ALTER TABLE rollups DROP COLUMN {name}")
    connection.execute("DELETE FROM rollups")
    connection.execute(
        f"INSERT INTO rollups SELECT started_at_ms - started_at_ms % {BUCKET_MS}, {names}, {sums} FROM records GROUP BY 1, {names}"
    )
    for table in ("rollup_groups", "fold", *(table for table, _ in WIDE)):
        connection.execute(f"DROP TABLE {table}")
    # the others change no roll-up
    connection.executescript(MIGRATIONS[2] + MIGRATIONS[3] + MIGRATIONS[7])


@pytest.fixture
def life(tmp_path: Path) -> Any:
    life = Life(tmp_path / "ledger.db")
    yield life
    life.connection.close()


def test_a_month_whose_price_came_late(life: Life, tmp_path: Path) -> None:
    """One line before and after: requests without a price, then requests with one."""
    life.book(START_MS, *map(make_record, range(3)))
    queries = connect_reader("sqlite:ledger.db", tmp_path)
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


def test_what_a_price_moves_is_found_by_an_index(life: Life) -> None:
    """A book of millions is not read for it."""
    query = moved(["1"], GROUPS, SUMS, lambda name, expression: expression, "{row}.seq > ?")
    plan = " ".join(str(row[3]) for row in rows(life.connection, f"EXPLAIN QUERY PLAN {query}", 5))
    assert "SEARCH p USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert "SCAN e" not in plan and "SCAN x" not in plan and "SCAN p" not in plan

"""A month's statement against the records that were booked."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.accounting.statements.statement import (
    LABELS_MAX,
    Correction,
    MonthStatement,
    PriceUse,
    read_statement,
)
from proxy.core.limits.credit import Credit
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, LedgerError, Reader, Refusal, connect_reader
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered, open_book, records
from tests.support.effort import examples

MONTH = (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
ZONE = ZoneInfo("UTC")
DAY_MS = 86_400_000


def priced(n: int, charge_nano: int, **changes: object) -> UsageRecord:
    fields = {
        "cost_nano": charge_nano // 2,
        "charge_nano": charge_nano,
        "currency": "USD",
        "price_version": "p1",
        "price_model": "deepseek-*",
    }
    return make_record(n, **(fields | changes))


def adjustment(n: int, of: UsageRecord, charge_nano: int) -> UsageRecord:
    return msgspec.structs.replace(
        of,
        id=make_id(n),
        kind="adjustment",
        adjusts=of.id,
        reason="a price was wrong",
        cost_nano=0,
        charge_nano=charge_nano,
        price_version="p2",
        **dict.fromkeys(("input_tokens", "output_tokens"), 0),
    )


def credit(n: int, limit_id: str, granted_at_ms: int) -> Credit:
    return Credit(make_id(n), limit_id, 5, granted_at_ms, None, "USD")


def booked(directory: Path, *rows: UsageRecord) -> tuple[Booker, Reader]:
    _, book = open_book(directory / "ledger.db")
    for at in range(0, len(rows), 64):
        book.book(Batch("w0", numbered(*rows[at : at + 64], after=at)))
    return book, connect_reader("sqlite:ledger.db", directory)


def read(reader: Reader, team: str | None = None, through: int | None = None) -> MonthStatement:
    return read_statement(reader, *MONTH, ZONE, team=team, through=through)


def totals(statement: MonthStatement) -> list[tuple[object, object, object]]:
    return [
        (row["currency"], row["requests"], row["charge_nano"])
        for row in statement.rows
        if row["row"] == "total"
    ]


def test_a_month_has_its_records_prices_and_corrections_and_nothing_of_other_months(tmp_path):
    first = priced(0, 1000)
    _, reader = booked(
        tmp_path,
        first,
        priced(1, 500, key_id="bob", team="sales", price_model=None, labels={}),
        priced(2, 7, id=make_id(2, START_MS + 40 * DAY_MS), started_at_ms=START_MS + 40 * DAY_MS),
        make_record(3),
        adjustment(4, first, -100),
    )
    found = read(reader)
    assert (found.month, found.timezone, found.through) == ("2026-11", "UTC", 5)
    assert totals(found) == [(None, 1, None), ("USD", 2, 1400)]
    assert found.prices == [
        PriceUse("p1", None, "modelmax", 1),
        PriceUse("p1", "deepseek-*", "modelmax", 1),
        PriceUse("p2", "deepseek-*", "modelmax", 1),
    ]
    assert found.corrections == [Correction("2026-11", "a price was wrong", "USD", 1, 0, -100)]
    assert found.labels == {"research": [{"cost_center": "4711"}]}
    assert found.hash == reader.status().last_hash


def test_a_team_s_statement_has_that_team_alone(tmp_path):
    first = priced(0, 1000)
    _, reader = booked(
        tmp_path, first, priced(1, 500, key_id="bob", team="sales"), adjustment(2, first, -1)
    )
    found = read(reader, team="sales")
    assert totals(found) == [("USD", 1, 500)]
    assert (found.prices, found.corrections) == ([PriceUse("p1", "deepseek-*", "modelmax", 1)], [])
    assert read(reader, team="nobody").rows == []


def test_what_was_booked_later_changes_no_amount_of_a_seq(tmp_path):
    first = priced(0, 1000)
    book, reader = booked(tmp_path, first, priced(1, 500))
    before = read(reader)
    book.book(Batch("w0", numbered(priced(2, 9), adjustment(3, first, -100), after=2)))
    assert read(reader, through=2) == before
    assert totals(read(reader)) == [("USD", 3, 1409)]
    assert read(reader, through=1).hash == reader.record(first.id).hash


def test_a_seq_behind_the_end_of_the_ledger_is_refused(tmp_path):
    _, reader = booked(tmp_path, make_record(0))
    with pytest.raises(LedgerError, match="ends at seq 1, before 2"):
        read(reader, through=2)


def test_an_empty_ledger_has_an_empty_statement(tmp_path):
    _, reader = booked(tmp_path)
    found = read(reader)
    assert (found.rows, found.through, found.hash, found.labels) == ([], 0, None, {})


def test_credits_of_the_month_are_those_of_the_team_and_of_its_keys(tmp_path):
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(Batch("w0", numbered(priced(0, 1))))
    limits = ["team:research/USD/day", "key:alice/x", "team:sales/USD/day", "key:bob/x"]
    for n, limit in enumerate(limits):
        add(connection, credit(n, limit, START_MS + n), KEY, START_MS)
    # More than a page of another month lies behind and before them.
    for n in range(520):
        later = credit(100 + n, limits[0], START_MS + 40 * DAY_MS + n)
        add(connection, later, KEY, START_MS)
    add(connection, credit(99, limits[0], START_MS - 40 * DAY_MS), KEY, START_MS)
    reader = connect_reader("sqlite:ledger.db", tmp_path)
    assert sorted(one.limit_id for one in read(reader).credits) == sorted(limits)
    assert [one.limit_id for one in read(reader, team="research").credits] == limits[1::-1]


def test_refusals_of_the_month_are_the_team_s_of_that_time(tmp_path):
    book, reader = booked(tmp_path)
    refusals = [
        Refusal(START_MS - START_MS % 900_000, "alice", "insufficient_quota", 2, "research", "l"),
        Refusal(START_MS - START_MS % 900_000, "alice", "insufficient_quota", 3, "sales", "l"),
        Refusal(START_MS - START_MS % 900_000 - 40 * DAY_MS, "alice", "x", 9, "research", None),
    ]
    book.book(Batch("w0", (), position=1, refusals=refusals))
    assert [one.count for one in read(reader).refusals] == [3, 2]
    assert [one.count for one in read(reader, team="research").refusals] == [2]


def test_labels_of_a_team_are_shown_up_to_a_bound(tmp_path):
    rows = [priced(n, 1, labels={"n": str(n)}) for n in range(LABELS_MAX + 5)]
    _, reader = booked(tmp_path, *rows, priced(99, 1, team="sales"))
    found = read(reader).labels
    assert found["research"] == [{"n": str(n)} for n in range(LABELS_MAX)]
    assert found["sales"] == [{"cost_center": "4711"}]


@st.composite
def some_records(draw: st.DrawFn) -> list[UsageRecord]:
    """Some of this month and some of its neighbours, priced or not."""
    numbers = draw(st.lists(st.integers(0, 40), unique=True, max_size=12))
    return [
        msgspec.structs.replace(
            record,
            started_at_ms=record.started_at_ms + draw(st.sampled_from([-40, 0, 0, 40])) * DAY_MS,
            price_version=draw(st.sampled_from([None, "p1", "p2"])),
        )
        for record in (draw(records(n)) for n in numbers)
    ]


@settings(max_examples=examples(20), deadline=None)
@given(some_records())
def test_the_totals_are_the_sums_of_the_month_s_records(rows):
    with tempfile.TemporaryDirectory() as directory:
        _, reader = booked(Path(directory), *rows)
        found = read(reader)
    from_ms, to_ms = (int(end.timestamp()) * 1000 for end in MONTH)
    mine = [row for row in rows if from_ms <= row.started_at_ms < to_ms]
    sums: dict[str | None, int] = {}
    for row in mine:
        sums[row.currency] = sums.get(row.currency, 0) + (row.charge_nano or 0)
    assert {
        row["currency"]: row["charge_nano"] or 0 for row in found.rows if row["row"] == "total"
    } == sums
    priced = [row for row in mine if row.price_version is not None]
    assert sum(one.records for one in found.prices) == len(priced)
    corrections = [row for row in mine if row.kind == "adjustment"]
    assert sum(one.records for one in found.corrections) == len(corrections)
    assert sum(one.charge_nano or 0 for one in found.corrections) == sum(
        row.charge_nano or 0 for row in corrections
    )

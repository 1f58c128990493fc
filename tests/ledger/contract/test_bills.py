"""What reads the whole book finds the same in each database: bills, other terms, and files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal

import msgspec
import pyarrow.parquet as pq

from proxy.accounting.export.focus import COLUMNS, Focus
from proxy.accounting.export.parquet import Parquet
from proxy.accounting.what_if import WhatIf, whole
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.scenario import Scenario
from proxy.core.records.repricing import reprice
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from tests.accounting.reconciling.books import NOVEMBER_MS, PRICES, held_against, priced
from tests.accounting.reconciling.planted import planted
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import numbered

DEARER = PriceBook(
    msgspec.structs.replace(
        PriceBook.from_terms(PRICES.terms()).content,
        rows=tuple(msgspec.structs.replace(row, input="9") for row in PRICES.content.rows),
    )
)
VERSIONS = [(each.version, each.terms()) for each in (PRICES, DEARER)]


def booked(book: BookUnderTest, records: Sequence[UsageRecord]) -> None:
    for at in range(0, len(records), 64):
        part = numbered(*records[at : at + 64], after=at)
        book.batch(Batch("w0", part, price_versions=VERSIONS))


def corrected() -> list[UsageRecord]:
    """70 requests, every third of them rerated, and one that has no price."""
    records = [priced(n) for n in range(70)]
    later = [
        reprice(record, [], record, DEARER.price_record(record, None)).adjustment
        for record in records[::3]
    ]
    unpriced = priced(70, model_requested="unheard-of", model_served="unheard-of")
    return [*records, *(each for each in later if each is not None), unpriced]


def test_the_planted_differences_are_found(ledgers: BookUnderTest) -> None:
    records, bill, causes = planted()
    booked(ledgers, records)
    found = held_against(
        ledgers.reader(), ledgers.directory, bill, "openrouter", from_ms=NOVEMBER_MS
    )
    assert {str(one.id): one.cause for one in found.differences} == causes
    assert found.matched.count == 300 - 25


def test_a_scenario_that_changes_nothing_is_the_ledger(ledgers: BookUnderTest) -> None:
    records = corrected()
    booked(ledgers, records)
    reader = ledgers.reader()
    job = WhatIf(reader, Scenario())
    job.add(whole(reader, None, None))
    found = {
        (each.model, each.currency): (each.requests, each.would_cost_nano, each.would_be_unpriced)
        for each in job.sums()
    }
    assert found == {
        (row["model"], row["currency"]): (
            row["requests"],
            row["cost_nano"],
            row["unpriced_requests"],
        )
        for row in reader.usage(["team", "model"], None, None, UTC)
    }
    assert sum(cost or 0 for _, cost, _ in found.values()) == sum(
        record.cost_nano or 0 for record in records
    )


def test_files_hold_the_sums_of_the_book(ledgers: BookUnderTest) -> None:
    records = corrected()
    booked(ledgers, records)
    reader = ledgers.reader()
    parquet, focus = Parquet(), Focus(UTC)
    bytes_of, rows = parquet.begin(), focus.begin()
    for page in reader.pages(whole(reader, None, None), 16):
        bytes_of += parquet.lines(page.rows)
        rows += focus.lines(page.rows)
    table = pq.read_table(io.BytesIO(bytes_of + parquet.end()))
    expected = Decimal(sum(record.cost_nano or 0 for record in records)).scaleb(-9)
    assert sum(cost for cost in table["cost"].to_pylist() if cost is not None) == expected
    assert table["id"].to_pylist() == [record.id for record in records]
    place = COLUMNS.index("BilledCost")
    lines = rows.decode().splitlines()[1:]
    assert focus.left_out == 1 and len(lines) == len(records) - 1
    assert sum(Decimal(line.split(",")[place]) for line in lines) == expected

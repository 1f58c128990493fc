"""The ledger's requests, as they stand behind their corrections."""

from __future__ import annotations

from pathlib import Path

from proxy.accounting.reconciling.own_side import OwnSide
from tests.accounting.reconciling.books import HOUR_MS, NOVEMBER_MS, PRICES, ledger_of, priced
from tests.ledger.samples import make_record


def test_only_requests_of_these_upstreams_and_times(tmp_path: Path) -> None:
    records = [*(priced(n) for n in range(5)), priced(5, upstream="other")]
    reader = ledger_of(tmp_path, records)
    side = OwnSide(reader, ["openai"], NOVEMBER_MS + HOUR_MS, NOVEMBER_MS + 9 * HOUR_MS)
    assert [record.id for record in side.records()] == [record.id for record in records[1:5]]
    assert len(list(OwnSide(reader, [], None, None).records())) == 6


def test_a_correction_is_part_of_its_record(tmp_path: Path) -> None:
    first = priced(0)
    correction = make_record(
        9,
        kind="adjustment",
        adjusts=first.id,
        reason="rerate",
        upstream="openai",
        started_at_ms=first.started_at_ms,
        input_tokens=0,
        output_tokens=0,
        cost_nano=-7,
        currency="USD",
    )
    moved: list[int] = []
    side = OwnSide(ledger_of(tmp_path, [first, correction]), ["openai"], None, None)
    [record] = side.records(moved.append)
    assert record.cost_nano == (first.cost_nano or 0) - 7 and sum(moved) == 2


def test_the_prices_of_a_record_are_those_that_the_ledger_keeps(tmp_path: Path) -> None:
    side = OwnSide(ledger_of(tmp_path, [priced(0)]), [], None, None)
    book = side.book_of(priced(0))
    assert book is not None and book.version == PRICES.version
    assert side.book_of(priced(0)) is book
    assert side.book_of(make_record()) is None
    assert side.book_of(make_record(price_version="0" * 16)) is None

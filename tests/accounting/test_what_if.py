"""The ledger under other terms, against what each record would have been booked with."""

from __future__ import annotations

import tempfile
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.accounting.what_if import WhatIf, sums_under, whole
from proxy.accounting.what_if_sums import WhatIfSum, totals
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.scenario import Scenario
from proxy.core.pricing.terms import DatedRate, Terms
from proxy.core.records.repricing import reprice
from proxy.core.usage import FREE, Outcome, Source, UsageRecord
from proxy.ledger import Batch, LedgerError, Reader, connect_reader
from proxy.ledger.reading import Stretch
from tests.ledger.samples import START_MS, make_id, make_record, numbered, open_book
from tests.support.effort import examples

ROWS = (
    PriceRow(model="gpt-4o", currency="USD", input="2.5", cached="1.25", output="10"),
    PriceRow(model="gpt-4o", currency="USD", input="5", output="20", service_tier="priority"),
    PriceRow(model="deepseek-*", currency="CNY", input="2", cached="0.2", output="3"),
    # Where images have a price, their number is worked out from each record.
    PriceRow(
        model="pictures", upstream="azure", currency="USD", input="1", output="1", image="0.003"
    ),
)
TERMS = Terms(
    currency="USD",
    timezone="UTC",
    rows=ROWS,
    fx={"CNY": (DatedRate("0.1387"),)},
    discounts={"openai": "0.075"},
    markups={"research": "0.033"},
)
BOOK = PriceBook(TERMS)
LATER = PriceBook(
    msgspec.structs.replace(
        TERMS, rows=(msgspec.structs.replace(ROWS[0], input="2.77"), *ROWS[1:]), markups={}
    )
)


def priced(record: UsageRecord, book: PriceBook, images: int | None = None) -> UsageRecord:
    found = book.price_record(record, images)
    return msgspec.structs.replace(
        record, **{name: getattr(found, name) for name in found.__struct_fields__}
    )


def use(n: int, book: PriceBook = BOOK, images: int | None = None, **changes: Any) -> UsageRecord:
    """The n-th request, priced."""
    fields: dict[str, Any] = {
        "id": make_id(n),
        "upstream": "openai",
        "model_requested": "gpt-4o",
        "model_served": "gpt-4o",
    }
    return priced(make_record(n, **(fields | changes)), book, images)


def reader_of(directory: Path, *records: UsageRecord) -> Reader:
    directory.mkdir(exist_ok=True)
    connection, book = open_book(directory / "ledger.db")
    versions = [(each.version, each.terms()) for each in (BOOK, LATER)]
    for at in range(0, len(records), 64):
        batch = numbered(*records[at : at + 64], after=at)
        book.book(Batch("w0", batch, price_versions=versions))
    connection.close()
    return connect_reader("sqlite:ledger.db", directory)


def summed(reader: Reader, scenario: Scenario, **narrowed: Any) -> list[WhatIfSum]:
    job = WhatIf(reader, scenario, **narrowed)
    job.add(whole(reader, None, None))
    return job.sums()


@st.composite
def ledgers(draw: st.DrawFn) -> list[UsageRecord]:
    """Requests of any use and price, some corrected by a rerating and by a late close."""
    records: list[UsageRecord] = []
    for n in range(draw(st.integers(1, 25))):
        model = draw(st.sampled_from(["gpt-4o", "deepseek-v3.2", "pictures", "unknown"]))
        record = use(
            n,
            book=draw(st.sampled_from([BOOK, LATER])),
            images=draw(st.integers(0, 5)),
            team=draw(st.sampled_from([None, "research", "sales"])),
            upstream=draw(st.sampled_from(["openai", "azure"])),
            model_requested=model,
            model_served=draw(st.sampled_from([model, None, "gpt-4o"])),
            service_tier=draw(st.sampled_from([None, "priority", "flex"])),
            input_tokens=draw(st.sampled_from([None, 0, 7, 1234, 999_999])),
            cached_tokens=draw(st.none() | st.integers(0, 10**6)),
            output_tokens=draw(st.integers(0, 10**6)),
            status=draw(st.sampled_from([200, 200, 429, None])),
            source=draw(st.sampled_from(Source)),
            outcome=draw(st.sampled_from(Outcome)),
            reason=draw(st.sampled_from([None, None, None, FREE])),
            started_at_ms=START_MS + draw(st.integers(0, 10**9)),
        )
        records.append(record)
        if draw(st.booleans()):
            repriced = reprice(record, [], record, LATER.price_record(record, 1))
            if repriced.adjustment is not None:
                records.append(repriced.adjustment)
    return records


@settings(max_examples=examples(90), deadline=None)
@given(ledgers(), st.booleans())
def test_a_scenario_that_changes_nothing_is_the_ledger(
    records: list[UsageRecord], named: bool
) -> None:
    """To the nano-unit, by team and model; also where the scenario says what holds anyway."""
    same = [record for record in records if record.price_version == BOOK.version]
    scenario = Scenario(rows=ROWS) if named else Scenario()
    booked = same if named else records
    booked = [each for each in booked if each.adjusts is None or not named]
    with tempfile.TemporaryDirectory() as directory:
        reader = reader_of(Path(directory), *booked)
        found = summed(reader, scenario)
        rows = reader.usage(["team", "model"], None, None, UTC)
    assert {
        (each.team, each.model, each.currency): (
            each.requests,
            each.would_cost_nano,
            each.would_charge_nano,
            each.would_be_unpriced,
        )
        for each in found
    } == {
        (row["team"], row["model"], row["currency"]): (
            row["requests"],
            row["cost_nano"],
            row["charge_nano"],
            row["unpriced_requests"],
        )
        for row in rows
    }
    assert all(each.cost_nano == each.would_cost_nano for each in found)


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_each_request_costs_what_it_would_have_been_booked_with(data: st.DataObject) -> None:
    """Against the price book of a config that says the same."""
    scenario = data.draw(
        st.sampled_from(
            [
                Scenario(discount="0.4"),
                Scenario(tier="priority"),
                Scenario(tier=""),
                Scenario(models=(("gpt-*", "deepseek-v4"),)),
                Scenario(rows=(PriceRow(model="*", currency="USD", input="0.7", output="0.9"),)),
            ]
        )
    )
    records = [
        use(
            n,
            input_tokens=data.draw(st.integers(0, 10**6)),
            output_tokens=data.draw(st.integers(0, 10**6)),
            team=data.draw(st.sampled_from(["research", None])),
            service_tier=data.draw(st.sampled_from([None, "priority"])),
        )
        for n in range(8)
    ]
    said = PriceBook(
        msgspec.structs.replace(
            TERMS,
            rows=scenario.rows or ROWS,
            discounts={"openai": scenario.discount or "0.075"},
        )
    )
    model = "deepseek-v4" if scenario.models else "gpt-4o"
    would = [
        said.price_record(
            msgspec.structs.replace(
                record,
                model_requested=model,
                model_served=model,
                service_tier=record.service_tier
                if scenario.tier is None
                else scenario.tier or None,
            )
        )
        for record in records
    ]
    with tempfile.TemporaryDirectory() as directory:
        found = list(totals(summed(reader_of(Path(directory), *records), scenario)))
    [total] = found
    assert total.would_cost_nano == sum(each.cost_nano or 0 for each in would)
    assert total.would_charge_nano == sum(each.charge_nano or 0 for each in would)


def test_what_has_no_price_then_is_unknown_and_not_zero(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, use(0), use(1, model_requested="o3", model_served="o3"))
    only = Scenario(rows=(PriceRow(model="o3", currency="USD", input="1", output="1"),))
    found = {each.model: each for each in summed(reader, only)}
    assert (found["gpt-4o"].would_cost_nano, found["gpt-4o"].would_be_unpriced) == (None, 1)
    assert (found["o3"].cost_nano, found["o3"].unpriced) == (None, 1)
    assert found["o3"].would_be_unpriced == 0 and found["o3"].would_cost_nano


def test_only_what_was_asked_for_is_priced(tmp_path: Path) -> None:
    reader = reader_of(
        tmp_path, use(0), use(1, upstream="azure"), use(2, team=None), use(3, team="sales")
    )
    assert sum(each.requests for each in summed(reader, Scenario(), upstreams=["azure"])) == 1
    assert [each.team for each in summed(reader, Scenario(), teams=["", "sales"])] == [
        None,
        "sales",
    ]


def test_what_was_booked_otherwise_than_its_terms_say_moves_by_the_same(tmp_path: Path) -> None:
    """As records of earlier programs, and those with corrections of several kinds."""
    odd = msgspec.structs.replace(use(0), cost_nano=1_000_000, charge_nano=1_000_000)
    reader = reader_of(tmp_path, odd)
    [same], [other] = summed(reader, Scenario()), summed(reader, Scenario(discount="0"))
    assert same.would_cost_nano == 1_000_000
    assert other.would_cost_nano == 1_000_000 + 450_000 - (use(0).cost_nano or 0)


def test_halves_that_are_read_side_by_side_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.what_if._SMALL_SEQS", 3)
    reader = reader_of(
        tmp_path, *(use(n, team=("sales", None)[n % 2], input_tokens=n) for n in range(41))
    )
    scenario, told = Scenario(discount="0.3"), []
    stretch = whole(reader, START_MS, None)
    found = sums_under(reader, scenario, stretch, teams=["sales"], advance=told.append)
    assert found == summed(reader, scenario, teams=["sales"]) and found[0].requests == 21
    assert sum(told) == 41 and len(told) == 2


def test_what_goes_wrong_in_one_half_ends_the_other_and_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.accounting.what_if._SMALL_SEQS", 3)
    reader = reader_of(tmp_path, *(use(n) for n in range(9)))
    beyond = Stretch(through=9, from_ms=START_MS)
    (tmp_path / "ledger.db").unlink()
    with pytest.raises(LedgerError, match=r"ledger\.db"):
        sums_under(reader, Scenario(), beyond)

    def failing(_seqs: int) -> None:
        raise ValueError("the terminal is gone")

    again = reader_of(tmp_path / "again", *(use(n) for n in range(9)))
    with pytest.raises(ValueError, match="the terminal"):
        sums_under(again, Scenario(), beyond, advance=failing)


def test_images_are_priced_though_no_column_counts_them(tmp_path: Path) -> None:
    record = use(0, upstream="azure", model_requested="pictures", model_served=None, images=3)
    [found] = summed(reader_of(tmp_path, record), Scenario(discount="0.5"))
    assert record.cost_nano == 120_000 + 3 * 3_000_000
    assert (found.would_cost_nano, found.would_be_unpriced) == (record.cost_nano // 2, 0)


def test_a_record_whose_terms_are_not_kept_is_unknown_but_as_it_was(tmp_path: Path) -> None:
    lost = msgspec.structs.replace(use(0), price_version="0" * 16)
    reader = reader_of(tmp_path, lost)
    [same], [other] = summed(reader, Scenario()), summed(reader, Scenario(discount="0.5"))
    assert (same.would_cost_nano, same.would_be_unpriced) == (lost.cost_nano, 0)
    assert (other.would_cost_nano, other.would_be_unpriced) == (None, 1)

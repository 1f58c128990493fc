"""A sealed month leaves every kind of ledger: all of it or nothing, and its sums stay."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.limits import rules_of
from proxy.config.settings import KeySettings, LimitSettings, Settings
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, LedgerError, QuestionRefused
from proxy.ledger.reading import Stretch
from proxy.ledger.verification import verify
from proxy.quota import connect
from proxy.quota.rebuild import restore
from tests.ledger.conftest import Kind
from tests.ledger.contract.test_months import forge
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.old_months import (
    DAY_MS,
    DEED,
    LATER_MS,
    RECORDS,
    archived,
    at_time,
    order_of,
    rebuilt,
    seal_all,
    told,
    two_months,
    verified,
)
from tests.ledger.samples import START_MS, make_id, make_record, numbered
from tests.support.effort import examples


@pytest.fixture
async def book(ledgers: BookUnderTest, monkeypatch: pytest.MonkeyPatch) -> BookUnderTest:
    """A book of November and December 2026, both sealed; a price of November came in December."""
    at_time(monkeypatch)
    two_months(ledgers)
    await seal_all(ledgers)
    return ledgers


async def test_sums_of_the_archived_month_stay_and_the_book_verifies(book: BookUnderTest) -> None:
    before = told(book)
    order = order_of(book)
    archive = await archived(book, order)
    assert (archive.month, archive.first_seq, archive.last_seq) == ("2026-11", 1, 24)
    assert archive.totals.records == 24 and archive.sha256 == "ab" * 32
    assert book.reader().archives() == [archive]
    assert book.rows("SELECT count(*) FROM records") == [(RECORDS - 24,)]
    assert told(book) == before
    found = verified(book)
    assert not found.findings and found.through == RECORDS
    await rebuilt(book)
    assert told(book) == before and not verified(book).findings
    assert [entry.deed for entry in book.reader().audit(0, 9)][-1] == DEED
    status = book.reader().status()
    assert (status.first_seq, status.last_seq) == (25, RECORDS)
    assert (status.records, status.adjustments) == (RECORDS - 24, 1)


async def test_roll_ups_of_the_archived_month_that_are_gone_are_found(book: BookUnderTest) -> None:
    """Neither a record nor a quarter hour is left where the walk would begin."""
    await archived(book, order_of(book))
    forge(book, f"DELETE FROM rollups WHERE bucket_ms < {START_MS // DAY_MS * DAY_MS}")
    assert verify(book.reader(), book.key_file, parts=("rollups",)).found > 0


async def test_the_next_month_goes_too_and_booking_goes_on(book: BookUnderTest) -> None:
    now_ms = START_MS + 100 * DAY_MS
    book.batch(Batch("w0", numbered(make_record(700, started_at_ms=now_ms), after=99)))
    before = told(book)
    await archived(book, order_of(book))
    await archived(book, order_of(book, "2026-12"))
    assert told(book) == before and not verified(book).findings
    assert book.rows("SELECT count(*) FROM records") == [(1,)]
    for writer, n in (("w0", 701), ("w1", 702), ("w2", 703)):
        book.batch(Batch(writer, numbered(make_record(n, started_at_ms=now_ms), after=100)))
    after = told(book)
    await rebuilt(book)
    assert told(book) == after and not verified(book).findings
    assert book.reader().head() == RECORDS + 4


async def test_a_month_that_was_archived_is_not_archived_again(book: BookUnderTest) -> None:
    order = order_of(book)
    await archived(book, order)
    sums = told(book)
    with pytest.raises(LedgerError, match="archived already"):
        await archived(book, order)
    assert told(book) == sums and len(book.reader().archives()) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"root": "00" * 32}, "other records than those sealed"),
        ({"last_seq": 5}, "not sealed like that"),
        ({"month": "2025-01"}, "not sealed like that"),
        ({"forced": ("unclosed",)}, "5 requests have no price"),
        ({"forced": ("unpriced",)}, "no closed statement"),
    ],
)
async def test_what_stands_against_it_is_told_and_nothing_changes(
    book: BookUnderTest, change: dict[str, Any], says: str
) -> None:
    order = msgspec.structs.replace(order_of(book), **change)
    before = book.everything()
    with pytest.raises(LedgerError, match=says):
        await archived(book, order)
    assert book.everything() == before


async def test_other_totals_and_a_later_month_are_refused(book: BookUnderTest) -> None:
    order = order_of(book)
    wrong = msgspec.structs.replace(order.totals, input_tokens=0)
    with pytest.raises(LedgerError, match="other totals"):
        await archived(book, msgspec.structs.replace(order, totals=wrong))
    with pytest.raises(LedgerError, match="begin with that"):
        await archived(book, order_of(book, "2026-12"))


async def test_open_windows_the_last_record_and_open_corrections_keep_a_month(
    book: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(book)
    with monkeypatch.context() as earlier:
        at_time(earlier, START_MS + 40 * DAY_MS)
        with pytest.raises(LedgerError, match="a window of a month"):
            await archived(book, order)
    late = {"kind": "adjustment", "adjusts": make_id(1), "reason": "x", "cost_nano": None}
    book.adjust([make_record(901, **late, charge_nano=None, currency=None)], now_ms=LATER_MS)
    with pytest.raises(LedgerError, match="corrects one of it without an amount"):
        await archived(book, order)


async def test_the_last_record_stays(book: BookUnderTest) -> None:
    await archived(book, order_of(book))
    with pytest.raises(LedgerError, match="the last record of the book stays"):
        await archived(book, order_of(book, "2026-12"))


async def test_questions_that_need_archived_records_are_refused_with_the_place(
    book: BookUnderTest,
) -> None:
    pages = book.reader().pages(Stretch(through=RECORDS), page_seqs=8)
    assert len(next(pages).rows) == 8
    await archived(book, order_of(book))
    reader = book.reader()
    december_ms = START_MS + 30 * DAY_MS
    refused: list[Callable[[], Any]] = [
        lambda: reader.usage(["end_user"], None, None, UTC),
        lambda: reader.usage(["label:cost_center"], None, START_MS + DAY_MS, UTC),
        lambda: reader.usage(["team"], None, None, UTC, through=24),
        lambda: reader.usage(["team"], START_MS + 1, None, UTC),
        lambda: list(reader.pages(Stretch(through=25))),
        lambda: list(pages),  # of before
        lambda: reader.narrowed(Stretch(through=25)),
        lambda: reader.label_names(Stretch(through=25)),
        lambda: reader.used_by_value(None, 0),
    ]
    for ask in refused:
        with pytest.raises(
            QuestionRefused, match=r"2026-11 are archived, .*ledger-2026-11.parquet"
        ):
            ask()
    assert reader.usage(["end_user"], december_ms, None, UTC)
    assert reader.usage(["team"], december_ms + 1, None, UTC)
    assert [page.upto_seq for page in reader.pages(Stretch(after=24, through=33))] == [33]
    assert reader.narrowed(Stretch(through=33, from_ms=december_ms)).after >= 24
    assert reader.used_by_value(None, december_ms)
    assert reader.record(make_id(0)) is None and reader.proof(make_id(0)) is None
    assert reader.proof(make_id(30)) is not None


async def test_an_anchor_of_before_is_told_to_be_archived(book: BookUnderTest) -> None:
    reader = book.reader()
    anchor = msgspec.json.encode(reader.anchor()).decode()
    old = anchor
    for seq in (33, 16, 12):  # of the book, and of each chain
        old = old.replace(f'"seq":{seq}', '"seq":3')
    await archived(book, order_of(book))
    step = reader.verify_step("anchor", anchor, book.key_file)
    assert not step.found and not step.notes
    step = reader.verify_step("anchor", old, None)
    assert any("archived" in note or "pruned" in note for note in step.notes), step


async def test_what_is_inconsistent_in_the_archive_is_still_counted(book: BookUnderTest) -> None:
    before = told(book)
    assert sum(row["inconsistent_requests"] for row in before[1]) == 16
    await archived(book, order_of(book))
    assert told(book) == before
    [row, *_] = book.reader().usage(["key"], None, None, UTC, key="alice")
    assert row["inconsistent_requests"]


async def test_a_price_that_comes_behind_the_archive_moves_nothing_of_it(
    book: BookUnderTest,
) -> None:
    """The archived request stays in the line without a currency, and the price is added."""
    await archived(book, order_of(book))
    before = book.reader().usage([], None, None, UTC)
    late = {"kind": "adjustment", "adjusts": make_id(4), "started_at_ms": START_MS + 5 * DAY_MS}
    price = {"cost_nano": 70, "charge_nano": 80, "currency": "EUR", "input_tokens": None}
    book.adjust([make_record(902, **late, **price, reason="x", output_tokens=None)])
    found = {row["currency"]: row for row in book.reader().usage([], None, None, UTC)}
    assert found["EUR"]["charge_nano"] == 80 and not found["EUR"]["requests"]
    assert all(found[row["currency"]] == row for row in before)
    assert not verified(book).findings
    await rebuilt(book)
    assert not verified(book).findings


SOME = st.lists(
    st.tuples(
        st.integers(0, 89),  # the day of its booking
        st.integers(0, 3),  # days before it, on which it started
        st.sampled_from(["usage", "usage", "unpriced", "price", "correct"]),
        st.integers(0, 30),  # which one it corrects
    ),
    min_size=3,
    max_size=30,
)


def booked(book: BookUnderTest, some: Sequence[tuple[int, int, str, int]]) -> None:
    """Book these by three writers, and one much later."""
    usages: list[UsageRecord] = []
    for n, (day, ago, kind, which) in enumerate(sorted(some, key=lambda one: one[0])):
        now_ms = START_MS + day * DAY_MS
        priced = {"cost_nano": 10 + n, "charge_nano": 11 + n, "currency": ("USD", "CNY")[n % 2]}
        if kind in ("usage", "unpriced") or not usages:
            amounts = priced if kind == "usage" else {}
            started_ms = now_ms - ago * DAY_MS
            more: dict[str, Any] = {"inconsistent": n % 5 == 0, "key_id": f"k{n % 2}"}
            record = make_record(n, started_at_ms=started_ms, **more, **amounts)
            usages.append(record)
            book.batch(Batch(f"w{which % 3}", [(n + 1, record)]), now_ms=now_ms)
        else:
            target = usages[which % len(usages)]
            amounts = priced if kind == "price" else {"output_tokens": 1}
            unknown = {"cost_nano": None, "charge_nano": None, "currency": None}
            correction = msgspec.structs.replace(
                target,
                id=make_id(n),
                kind="adjustment",
                adjusts=target.id,
                reason="x",
                **{**unknown, **amounts},
            )
            book.adjust([correction], now_ms=now_ms)
    last_ms = START_MS + 95 * DAY_MS
    last = make_record(999, started_at_ms=last_ms)
    book.batch(Batch("w0", [(1000, last)]), now_ms=last_ms)


@settings(max_examples=examples(10), deadline=None)
@given(SOME)
def test_whatever_was_booked_sums_stay_and_the_book_verifies(
    kind: Kind, some: list[tuple[int, int, str, int]]
) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as clocks,
        kind(Path(directory)) as book,
    ):
        at_time(clocks)
        booked(book, some)
        asyncio.run(seal_all(book))
        before = told(book)
        for (month,) in book.rows("SELECT month FROM months ORDER BY seq"):
            try:
                asyncio.run(archived(book, order_of(book, month)))
            except LedgerError as error:
                assert "without an amount" in str(error) or "the last record" in str(error)
                break
            assert told(book) == before
            assert not verified(book).findings
        asyncio.run(rebuilt(book))
        assert told(book) == before and not verified(book).findings
        assert book.reader().head() == len(some) + 1


async def test_sums_beyond_63_bits_of_an_archived_month_stay(
    ledgers: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_time(monkeypatch)
    large = {"charge_nano": 2**56 - 1, "cost_nano": -(2**56), "output_tokens": 2**56}
    records = [make_record(n, **large, currency="VND") for n in range(300)]
    ledgers.book(*records, make_record(900, started_at_ms=START_MS + 40 * DAY_MS))
    ledgers.book(make_record(901, started_at_ms=START_MS + 60 * DAY_MS), now_ms=LATER_MS)
    await seal_all(ledgers)
    before = told(ledgers)
    order = order_of(ledgers)
    assert order.totals.charges == {"VND": 300 * (2**56 - 1)}
    archive = await archived(ledgers, order)
    assert archive.totals == order.totals
    assert told(ledgers) == before and not verified(ledgers).findings
    await rebuilt(ledgers)
    assert told(ledgers) == before and not verified(ledgers).findings


async def used_of_rate(book: BookUnderTest, now_ms: int) -> int:
    """Tokens that a new store counts for alice in a rate whose look back is years long."""
    slow = LimitSettings(limit="1 tokens/hour", burst=100_000)
    config = Settings(data_dir=book.directory, keys={"alice": KeySettings(limits=(slow,))})
    quota = await connect("memory:", ZoneInfo("UTC"), monotonic_ms=lambda: 10**12)
    ledger = await book.open()
    try:
        rules = rules_of(config)
        assert await restore(
            quota, rules, ledger, book.reader(), currency="USD", zone=ZoneInfo("UTC"), now_ms=now_ms
        )
        [state] = await quota.states(quota.limits(), now_ms)
    finally:
        await ledger.aclose()
    return state.used


async def test_a_rate_counts_what_is_archived_when_it_is_built_anew(book: BookUnderTest) -> None:
    now_ms = START_MS + 50 * DAY_MS
    before = await used_of_rate(book, now_ms)
    await archived(book, order_of(book))
    after = await used_of_rate(book, now_ms)
    assert before > 1000, "of both months, as nothing was refilled so fast"
    assert before <= after <= before + 1, "an hour counts at its end, and one token flows off in it"

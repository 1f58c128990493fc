"""Booking: once each, in order, whatever is known already."""

from __future__ import annotations

import pytest

from proxy.core.records.canonical import GENESIS, chained, seal
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.ledger import Batch, Booked, Refusal
from proxy.ledger.reading import Stretch
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered

BUCKET_MS = 15 * 60 * 1000


def put(book: BookUnderTest, *records: UsageRecord, after: int = 0) -> Booked:
    return book.batch(Batch("w0", numbered(*records, after=after)))


def test_rows_get_their_place_in_the_chain_in_the_order_of_the_batches(
    ledgers: BookUnderTest,
) -> None:
    put(ledgers, make_record(0), make_record(1))
    put(ledgers, make_record(2), after=2)
    prev_hash = GENESIS
    [page] = ledgers.reader().pages(Stretch(through=3))
    assert len(page.rows) == 3
    for n, row in enumerate(page.rows):
        assert (row[0], row[1]) == (make_id(n), n + 1)
        assert row[-2] == prev_hash
        prev_hash = chained(prev_hash, row[:-2])
        assert row[-1] == prev_hash
    heads = ledgers.rows("SELECT seq, hash, booked_at_ms, seal FROM heads ORDER BY seq")
    assert [head[0] for head in heads] == [2, 3]
    assert heads[-1] == (3, prev_hash, START_MS + 5000, seal(KEY, 3, START_MS + 5000, prev_hash))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 63, 64])
def test_a_batch_booked_again_changes_nothing(ledgers: BookUnderTest, size: int) -> None:
    batch = [
        make_record(n, key_id=f"k{n % 3}", started_at_ms=START_MS + n * 100_000)
        for n in range(size)
    ]
    assert put(ledgers, *batch) == Booked(inserted=size, known=0, adjustments=0)
    before = ledgers.everything()
    assert put(ledgers, *batch) == Booked(inserted=0, known=size, adjustments=0)
    assert ledgers.everything() == before


def test_a_batch_partly_known_counts_only_what_is_new(
    ledgers: BookUnderTest,
) -> None:
    put(ledgers, make_record(0), make_record(1))
    assert put(ledgers, make_record(1), make_record(2), make_record(2)) == Booked(
        inserted=1, known=2, adjustments=0
    )
    assert ledgers.rows("SELECT sum(requests), sum(input_tokens) FROM rollups") == [(3, 300)]
    assert ledgers.rows("SELECT count(*), sum(input_tokens) FROM records") == [(3, 300)]


def test_a_different_record_under_a_known_id_becomes_an_adjustment_once(
    ledgers: BookUnderTest,
) -> None:
    interrupted = make_record(
        0, output_tokens=512, source=Source.ESTIMATED, outcome=Outcome.INTERRUPTED
    )
    late = make_record(0, output_tokens=300)
    put(ledgers, interrupted)
    assert put(ledgers, late, after=1) == Booked(inserted=0, known=0, adjustments=1)
    before = ledgers.everything()
    assert put(ledgers, interrupted, late, late, after=2) == Booked(
        inserted=0, known=3, adjustments=0
    )
    assert {**ledgers.everything(), "journal_positions": None} == {
        **before,
        "journal_positions": None,
    }
    kinds = "SELECT kind, adjusts, reason, input_tokens, output_tokens FROM records ORDER BY 5 DESC"
    assert ledgers.rows(kinds) == [
        ("usage", None, None, 100, 512),
        ("adjustment", make_id(0), "late_close", 0, -212),
    ]
    assert ledgers.rows(
        "SELECT requests, input_tokens, output_tokens, reported_requests FROM rollups"
    ) == [(1, 100, 300, 0)]


def test_what_knows_less_than_the_book_or_its_corrections_changes_nothing(
    ledgers: BookUnderTest,
) -> None:
    guess = make_record(0, output_tokens=512, source=Source.ESTIMATED, origin="recovery")
    put(ledgers, guess, make_record(0, output_tokens=300))
    cut = make_record(0, output_tokens=150, source=Source.PARTIAL)
    assert put(ledgers, cut, guess, after=2) == Booked(inserted=0, known=2, adjustments=0)
    assert ledgers.rows("SELECT output_tokens FROM rollups") == [(300,)]


async def test_what_is_booked_is_found_by_its_id(ledgers: BookUnderTest) -> None:
    batch = [make_record(n) for n in range(20)]
    ledger = await ledgers.open()
    await ledger.book(Batch("w0", numbered(*batch)))
    found = await ledger.stored([make_id(n) for n in range(15, 40)])
    assert found == {r.id: r for r in batch[15:]}
    assert await ledger.stored([]) == {}
    await ledger.aclose()


@pytest.mark.parametrize("together", [True, False])
def test_whatever_order_versions_come_in_the_sum_is_the_last_new_one(
    ledgers: BookUnderTest, together: bool
) -> None:
    versions = [make_record(0, output_tokens=tokens) for tokens in (512, 300, 300, 700)]
    if together:
        assert put(ledgers, *versions) == Booked(inserted=1, known=1, adjustments=2)
    else:
        for n, version in enumerate(versions):
            put(ledgers, version, after=n)
    put(ledgers, *versions)
    assert ledgers.rows("SELECT count(*), sum(output_tokens) FROM records") == [(3, 700)]
    assert ledgers.rows("SELECT output_tokens FROM rollups") == [(700,)]


def test_rollups_keep_quarter_hours_and_names_apart(
    ledgers: BookUnderTest,
) -> None:
    edge_ms = START_MS // BUCKET_MS * BUCKET_MS + BUCKET_MS
    batch = [
        make_record(0, started_at_ms=edge_ms - 1),
        make_record(1, started_at_ms=edge_ms),
        make_record(2, started_at_ms=edge_ms, team=None),
        make_record(3, started_at_ms=edge_ms, team=None, model_requested=None),
        make_record(4, started_at_ms=edge_ms, team="", model_requested=None),
        make_record(5, started_at_ms=edge_ms, team=None, model_requested=None),
    ]
    put(ledgers, *batch)
    found = ledgers.rows(
        "SELECT bucket_ms, team, model_requested, requests FROM rollups ORDER BY bucket_ms, team IS NULL, team, model_requested IS NULL",
    )
    assert found == [
        (edge_ms - BUCKET_MS, "research", "deepseek-v3.2", 1),
        (edge_ms, "", None, 1),
        (edge_ms, "research", "deepseek-v3.2", 1),
        (edge_ms, None, "deepseek-v3.2", 1),
        (edge_ms, None, None, 2),
    ]


def test_what_nobody_knows_stays_unknown_in_a_rollup(
    ledgers: BookUnderTest,
) -> None:
    query = "SELECT cached_tokens, reasoning_tokens, cost_nano FROM rollups"
    put(ledgers, make_record(0, cached_tokens=None, reasoning_tokens=0))
    assert ledgers.rows(query) == [(None, 0, None)]
    put(ledgers, make_record(1, cached_tokens=None, reasoning_tokens=None), after=1)
    assert ledgers.rows(query) == [(None, 0, None)]
    put(ledgers, make_record(2, cached_tokens=7, reasoning_tokens=1), after=2)
    assert ledgers.rows(query) == [(7, 1, None)]


async def test_the_position_is_where_the_last_batch_ended(ledgers: BookUnderTest) -> None:
    ledger = await ledgers.open()
    assert await ledger.position("w0") == 0
    await ledger.book(Batch("w0", numbered(make_record(0), make_record(1), after=40)))
    await ledger.book(Batch("w1", numbered(make_record(2)), position=99))
    assert [await ledger.position(writer) for writer in ("w0", "w1")] == [42, 99]
    for _ in range(2):
        await ledger.release("w1")
    assert await ledger.position("w1") == 99
    await ledger.book(Batch("w0", position=0))
    assert await ledger.position("w0") == 0
    await ledger.aclose()


async def test_salts_are_kept_and_never_replaced(ledgers: BookUnderTest) -> None:
    ledger = await ledgers.open()
    await ledger.book(Batch("w0", salts=[("look-up", b"salt")]))
    await ledger.book(Batch("w0", salts=[("look-up", b"another"), ("second", b"pepper")]))
    assert await ledger.salts() == {"look-up": b"salt", "second": b"pepper"}
    await ledger.aclose()


def test_refusals_of_a_batch_are_booked_with_it(ledgers: BookUnderTest) -> None:
    for _ in range(2):
        ledgers.batch(Batch("w0", refusals=[Refusal(0, "alice", "x", 3, "research", "soft-day")]))
    assert ledgers.rows("SELECT count, team, limit_id FROM refusals") == [
        (6, "research", "soft-day")
    ]


def test_an_absurd_count_is_booked_as_unknown_and_flagged(
    ledgers: BookUnderTest,
) -> None:
    absurd = make_record(0, input_tokens=10**30)
    assert put(ledgers, absurd) == Booked(inserted=1, known=0, adjustments=0)
    assert put(ledgers, absurd) == Booked(inserted=0, known=1, adjustments=0)
    assert ledgers.rows("SELECT input_tokens, inconsistent FROM records") == [(None, 1)]

"""At each commit the wide roll-ups say what the records before `folded_until_ms` say."""

from __future__ import annotations

import threading

import pytest

from proxy.ledger.postgresql import folding
from proxy.ledger.spans import BUCKET_MS
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import START_MS, make_record

pytestmark = pytest.mark.whole  # a server of its own

DAY_MS = 86_400_000


def folded(book: Books) -> int:
    [(until_ms,)] = book.rows("SELECT folded_until_ms FROM fold")
    return int(until_ms)


def test_quarter_hours_are_folded_when_they_are_over() -> None:
    with books() as book:
        book.book(make_record(0))
        assert book.rows("SELECT * FROM rollups_daily") == []
        first = folded(book)
        book.now_ms = later = START_MS + 2 * BUCKET_MS
        book.book(make_record(1, started_at_ms=later))
        assert folded(book) > first
        assert book.rows("SELECT requests FROM rollups_daily") == [(1,)]
        assert book.rows("SELECT requests FROM rollups_monthly") == [(1,)]
        book.agree()


def test_what_is_late_is_added_at_once() -> None:
    with books() as book:
        book.now_ms = START_MS + 3 * DAY_MS
        book.book(make_record(0, started_at_ms=book.now_ms))
        for n, start_ms in enumerate((START_MS, START_MS + DAY_MS, START_MS - 40 * DAY_MS, 5)):
            book.book(make_record(n + 1, started_at_ms=start_ms), writer="w1")
            book.agree()
        assert book.rows("SELECT sum(requests) FROM rollups_monthly") == [(4,)]


def test_a_record_beside_what_is_folded_counts_once_however_a_batch_is_mixed() -> None:
    with books() as book:
        book.now_ms = START_MS + DAY_MS
        book.book(make_record(0, started_at_ms=book.now_ms))
        book.book(
            make_record(1, started_at_ms=START_MS),
            make_record(2, started_at_ms=book.now_ms),
            make_record(3, started_at_ms=START_MS, currency="USD", cost_nano=3),
            make_record(4, started_at_ms=START_MS, team=None, model_requested=None),
        )
        book.agree()


def test_folding_while_others_book_misses_nothing() -> None:
    """A batch that began before a fold and commits behind it must be late."""
    with books() as book:
        book.rows("SELECT 1")

        def write(number: int) -> None:
            with books(book.url) as mine:
                for n in range(30):
                    # Each process has its own idea of how late it is.
                    mine.now_ms = START_MS + n * BUCKET_MS
                    mine.book(
                        make_record(number * 1000 + n, started_at_ms=mine.now_ms),
                        make_record(
                            number * 1000 + 500 + n, started_at_ms=mine.now_ms - number * BUCKET_MS
                        ),
                        writer=f"w{number}",
                    )

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert folded(book) > START_MS + 25 * BUCKET_MS
        book.agree()
        assert book.rows("SELECT sum(requests) FROM rollups") == [(240,)]


def test_a_fold_beyond_a_late_one_is_no_step_back() -> None:
    with books() as book:
        book.now_ms = START_MS + DAY_MS
        book.book(make_record(0, started_at_ms=book.now_ms))
        before = folded(book)
        folding.fold(book.line, before - BUCKET_MS)
        assert folded(book) == before


def test_how_far_may_be_folded() -> None:
    grace = folding.GRACE_MS
    assert folding.until(BUCKET_MS + grace, 10 * BUCKET_MS) == BUCKET_MS
    assert folding.until(BUCKET_MS + grace - 1, 10 * BUCKET_MS) == 0
    assert folding.until(10 * BUCKET_MS, BUCKET_MS + grace) == BUCKET_MS
    assert folding.is_late(BUCKET_MS - 1, BUCKET_MS)
    assert not folding.is_late(BUCKET_MS, BUCKET_MS)

"""A book that several verify at once, in shares, is told as one walk over it tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger import Batch
from proxy.ledger.verification import verify
from tests.ledger.ledgers import BookUnderTest, PostgresBook
from tests.ledger.samples import START_MS, make_record, numbered
from tests.ledger.shared_walks import in_shares, small_books_too
from tests.ledger.whole_book import DAY_MS, forger_of

RECORDS = 30


@pytest.fixture
def book(ledgers: BookUnderTest, monkeypatch: pytest.MonkeyPatch) -> BookUnderTest:
    """Batches of three records, a day each."""
    small_books_too(monkeypatch)
    for n in range(0, RECORDS, 3):
        records = [
            make_record(n + k, started_at_ms=START_MS + n * DAY_MS, cost_nano=k, currency="USD")
            for k in range(3)
        ]
        batch = Batch("w0", numbered(*records, after=n))
        ledgers.batch(batch, now_ms=START_MS + n * DAY_MS)
    return ledgers


def forge(book: BookUnderTest, statement: str) -> None:
    if isinstance(book, PostgresBook):
        off = "; ".join(
            f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in ("records", "heads")
        )
        own = statement.replace("x'", "'\\x").replace(" seq", " chain_seq")
        book.books.do(f"{off}; {own}")
    else:
        forger = forger_of(Path(book.name))
        forger.execute(statement)
        forger.close()


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_sound_book_is_divided_and_found_sound(book: BookUnderTest, count: int) -> None:
    found, workers = in_shares(book.reader(), book.key_file, count)
    assert found == verify(book.reader(), book.key_file) and found.found == 0
    assert len(workers.places["records"]) == count
    # A share begins behind a row, which may be in the middle of a batch.
    assert len(set(workers.places["records"])) == count
    # None of them finds anything that has to be looked at again.
    assert [part for part in workers.wholes if workers.places.get(part) != [None]] == []


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE records SET output_tokens = 1 WHERE seq = 15",
        "UPDATE records SET output_tokens = 1 WHERE seq IN (4, 16, 29)",
        "DELETE FROM records WHERE seq = 15",
        "DELETE FROM records WHERE seq = 16",
        "DELETE FROM records WHERE seq >= 14 AND seq <= 17",
        "DELETE FROM records WHERE seq = 30",
        "DELETE FROM records WHERE seq = 1",
        "DELETE FROM heads WHERE seq = 15",
        "DELETE FROM heads WHERE seq = 30",
        "DELETE FROM heads WHERE seq > 3",
        "UPDATE records SET hash = x'00' WHERE seq = 15",
        "UPDATE records SET prev_hash = hash WHERE seq = 16",
        "UPDATE heads SET key_name = '0000000000000000' WHERE seq = 18",
        "UPDATE heads SET key_name = '0000000000000000' WHERE seq <= 18",
        "UPDATE heads SET key_name = '0000000000000000' WHERE seq >= 18",
        "UPDATE heads SET key_name = '0000000000000000'",
        "UPDATE heads SET seal = hash WHERE seq = 15",
        "UPDATE rollups SET requests = requests + 1",
        "UPDATE rollups_daily SET requests = requests + 1",
        "DELETE FROM rollups_4h",
        "DELETE FROM rollups",
    ],
)
def test_what_is_wrong_is_told_as_one_walk_tells_it(book: BookUnderTest, forgery: str) -> None:
    forge(book, forgery)
    whole = verify(book.reader(), book.key_file)
    # No finding are a seal that is gone between others, and seals of a lost key at the beginning.
    assert whole.found > 0 or "<= 18" in forgery or "heads WHERE seq = 15" in forgery
    for count in (2, 7):
        assert in_shares(book.reader(), book.key_file, count)[0] == whole


def test_a_small_book_is_one_share(book: BookUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    for database in ("sqlite", "postgresql"):
        monkeypatch.setattr(f"proxy.ledger.{database}.verify_shares.SHARED_ROWS_MIN", 20_000)
    _, workers = in_shares(book.reader(), book.key_file, 2)
    assert set(map(tuple, workers.places.values())) == {(None,)}


def test_an_empty_book_is_one_share(
    ledgers: BookUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_books_too(monkeypatch)
    ledgers.book(make_record(1))
    assert in_shares(ledgers.reader(), ledgers.key_file, 4)[0].found == 0

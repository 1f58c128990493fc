"""What a ledger in PostgreSQL keeps of an archived month tells who changed it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.ledger.postgresql.tables import APPEND_ONLY
from tests.ledger.ledgers import PostgresBook, opened_postgres
from tests.ledger.old_months import (
    archived,
    at_time,
    order_of,
    seal_all,
    two_months,
    verified,
)

pytestmark = pytest.mark.whole  # a server of its own


@pytest.fixture
def book(tmp_path: Path) -> Iterator[PostgresBook]:
    with opened_postgres(tmp_path) as found:
        assert isinstance(found, PostgresBook)
        yield found


def forge(book: PostgresBook, change: str) -> None:
    """Change rows as the owner can who takes the triggers away."""
    off = "; ".join(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in APPEND_ONLY)
    book.books.do(off)
    assert book.books.line.ask(lambda one: one.execute(change.encode()).rowcount) > 0


CHANGES = [
    "UPDATE archived_sums SET charge_nano = 1 WHERE seq = 2",
    "DELETE FROM archived_sums WHERE seq = 3",
    "UPDATE archived_sums SET inconsistent_requests = 9 WHERE seq = 1",
    "INSERT INTO archived_sums (seq, archive_seq, bucket_ms, key_id) VALUES (99, 77, 0, 'k')",
    "UPDATE archives SET file = 'other.parquet'",
    "UPDATE archives SET sha256 = '\\x00'",
    "UPDATE archives SET totals = replace(totals, '\"records\":', '\"records\":1')",
    "DELETE FROM archives",
    "DELETE FROM checkpoints",
    "DELETE FROM checkpoints WHERE chain = 'w0'",
    "UPDATE checkpoints SET hash = '\\x00' WHERE chain = 'w1'",
    "UPDATE checkpoints SET seal = '\\x00' WHERE chain = 'w1'",
    "UPDATE rollups SET charge_nano = charge_nano + 1 WHERE bucket_ms < 1794000000000",
    "DELETE FROM rollups WHERE bucket_ms < 1793600000000",
    # Of this day there is nothing left but the sums of the archive.
    "DELETE FROM rollups WHERE bucket_ms >= 1793900000000 AND bucket_ms < 1794100000000",
    "UPDATE months SET root = '\\x00' WHERE month = '2026-11'",
    "DELETE FROM records WHERE chain = 'w0' AND chain_seq = 13",
    "DELETE FROM heads WHERE seq = (SELECT min(seq) FROM heads)",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_changed_afterwards_is_found(
    book: PostgresBook, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    at_time(monkeypatch)
    two_months(book)
    await seal_all(book)
    await archived(book, order_of(book))
    assert not verified(book).found
    forge(book, change)
    found = verified(book)
    assert found.found == len(found.findings) > 0
    if "FROM rollups" in change:
        assert "rollups" in {flaw.part for flaw in found.findings}


async def test_a_start_looks_behind_the_checkpoints(
    book: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest records of a chain may begin at one: what is before it is archived."""
    at_time(monkeypatch)
    two_months(book)
    await seal_all(book)
    await archived(book, order_of(book))
    step = book.reader().verify_step("newest", None, book.key_file)
    assert not step.found and step.rows

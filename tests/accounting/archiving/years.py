"""A ledger with months of long ago, each sealed, on a data directory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from proxy.ledger.months import due_months
from proxy.ledger.postgresql.months import add_month
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.signing import FILE, month_signer
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import begin_chain
from tests.ledger.postgresql.books import Books
from tests.ledger.samples import KEY, make_record, numbered, open_book
from tests.ledger.whole_book import seal_all

HOUR_MS = 3_600_000
PRICED = {"cost_nano": 1_000, "charge_nano": 1_100, "currency": "USD"}


def ms_of(month: int, day: int = 10, year: int = 2026) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


def old_ledger(data_dir: Path, months: tuple[int, ...] = (1, 2, 3), each: int = 5) -> Path:
    """`each` records in each of these months of 2026, and one of this November; sealed."""
    data_dir.mkdir(exist_ok=True)
    (data_dir / "ledger.key").write_text(KEY.hex())
    path = data_dir / "ledger.db"
    connection, _ = open_book(path)
    connection.execute("PRAGMA journal_mode = WAL")
    begin_chain(connection, KEY, ms_of(months[0], 1))
    for at_ms, after, some in _booked(months, each):
        book = Booker(connection, KEY, lambda at_ms=at_ms: at_ms)  # type: ignore[misc]
        for start in range(0, len(some), 64):
            part = some[start : start + 64]
            book.book(Batch("w7", numbered(*part, after=after + start)))
    connection.close()
    seal_all(path, ms_of(11, 30))
    return path


def old_shared_ledger(
    data_dir: Path, book: Books, months: tuple[int, ...] = (1, 2, 3), each: int = 5
) -> None:
    """The same records in PostgreSQL, where two processes booked them."""
    data_dir.mkdir(exist_ok=True)
    (data_dir / "ledger.key").write_text(KEY.hex())
    for at_ms, _, some in _booked(months, each):
        book.now_ms = at_ms
        for start, writer in ((0, "w7"), (3, "w8")):
            book.book(*some[start : start + 3], writer=writer)
    signer = month_signer(data_dir / FILE, make=True)
    assert signer is not None
    for row in due_months(PostgresReader(book.url).months, UTC, ms_of(11, 30), signer):
        book.line.transaction(lambda one, row=row: add_month(one, row))  # type: ignore[misc]


def _booked(months: tuple[int, ...], each: int) -> Iterator[tuple[int, int, list[UsageRecord]]]:
    """The time of each month, how many records come before it, and its records."""
    after = 0
    for month in (*months, 11):
        at_ms = ms_of(month)
        some = [
            make_record(
                after + n,
                started_at_ms=at_ms - n * HOUR_MS,
                duration_ms=10,
                key_id=f"k{n % 2}",
                end_user="e" * 32 if n % 2 else None,
                tags={"env": "é\u2028x"},
                stream=n % 2 == 0,
                **PRICED,
            )
            for n in range(each if month != 11 else 1)
        ]
        yield at_ms, after, some
        after += len(some)

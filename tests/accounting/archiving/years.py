"""A ledger with months of long ago, each sealed, on a data directory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from proxy.ledger import Batch
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import begin_chain
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
        book = Booker(connection, KEY, lambda at_ms=at_ms: at_ms)  # type: ignore[misc]
        for start in range(0, len(some), 64):
            part = some[start : start + 64]
            book.book(Batch("w7", numbered(*part, after=after + start)))
        after += len(some)
    connection.close()
    seal_all(path, ms_of(11, 30))
    return path

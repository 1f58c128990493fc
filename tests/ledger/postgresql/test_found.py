"""What a transaction finds of its records, and that it holds corrections for itself."""

from __future__ import annotations

import psycopg
import pytest

from proxy.core.usage import Source
from proxy.ledger import LedgerUnavailable
from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.found import FoundRecords
from tests.ledger.postgresql.books import books
from tests.ledger.samples import make_id, make_record

pytestmark = pytest.mark.whole  # a server of its own


def test_records_come_back_as_they_were_booked() -> None:
    several = [make_record(n, tags={"a": str(n)}, stream=bool(n)) for n in range(2)]
    with books() as book:
        book.book(*several)
        book.book(make_record(2), make_record(0, source=Source.COUNTED))
        assert book.booker.stored([make_id(0), make_id(1), make_id(9), "odd\0"]) == {
            record.id: record for record in several
        }


def test_corrections_come_in_the_order_of_booking() -> None:
    with books() as book:
        book.book(make_record(0, output_tokens=1, source=Source.ESTIMATED))
        for n in (3, 2, 1):
            book.adjust(make_record(n, kind="adjustment", adjusts=make_id(0), output_tokens=n))
        found = book.line.ask(lambda one: FoundRecords(one, ()).corrections(make_id(0)))
        assert [record.id for record in found] == [make_id(3), make_id(2), make_id(1)]


def test_one_transaction_corrects_at_a_time() -> None:
    with books() as book, opened(book.url, writes=True) as other:
        book.rows("SELECT 1")
        other.execute("SET lock_timeout = '10ms'")
        with other.transaction(), opened(book.url, writes=True) as mine, mine.transaction():
            FoundRecords(mine, ()).hold_corrections()
            with pytest.raises(psycopg.errors.LockNotAvailable), other.transaction():
                FoundRecords(other, ()).hold_corrections()


def test_a_row_that_was_spoilt_is_told() -> None:
    with books() as book:
        book.book(make_record(0))
        book.do("ALTER TABLE records DISABLE TRIGGER append_only")
        book.do("UPDATE records SET outcome = 'x'")
        with pytest.raises(LedgerUnavailable, match="cannot be read back"):
            book.booker.stored([make_id(0)])

"""Of a long book in PostgreSQL, over chains of several writers, the rows behind a number."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger import connect_reader
from proxy.ledger.listing import RowChoice
from proxy.ledger.postgresql import listing
from proxy.ledger.postgresql.connection import opened
from tests.ledger.postgresql.books import Books
from tests.ledger.samples import START_MS, make_id, make_record

HOUR_MS = 3_600_000


@pytest.mark.whole
def test_rows_of_several_writers_come_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    books = [Books()]
    books.append(Books(books[0].url))
    for n in range(60):
        at_ms = START_MS + n // 2 * HOUR_MS
        books[n % 2].now_ms = at_ms
        key = "rare" if n % 20 == 7 else "odd \0 name"
        books[n % 2].book(make_record(n, started_at_ms=at_ms, key_id=key), writer=f"w{n % 2}")
    reader = connect_reader(books[0].url, Path())
    rare = RowChoice(through=60, key="rare")
    page = reader.listed(rare, None, 2)
    assert [row[0] for row in page.rows] == [make_id(47), make_id(27)]
    assert [row[0] for row in reader.listed(rare, page.before, 2).rows] == [make_id(7)]
    every = reader.listed(RowChoice(through=60), None, 100)
    assert [row[0] for row in every.rows] == [make_id(n) for n in reversed(range(60))]
    odd = reader.listed(RowChoice(through=60, key="odd \0 name"), None, 100)
    assert len(odd.rows) == 57, "a name is asked for as it is stored"
    looked: list[int] = []
    plain = listing.collected

    def counted(*asked):  # type: ignore[no-untyped-def]
        *before, quarters, find = asked
        return plain(*before, (looked.append(at) or at for at in quarters), find)  # type: ignore[func-returns-value]

    monkeypatch.setattr(listing, "collected", counted)
    with opened(books[0].url, writes=False) as connection, connection.transaction():
        assert len(listing.listed(connection, rare, None, 100).rows) == 3
    assert len(looked) == 3, "what others used is not read"
    for one in books:
        one.close()

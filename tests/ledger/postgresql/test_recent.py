"""What a start reads of recent records, of all writers together."""

from __future__ import annotations

import pytest

from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.recent import recent, used_by_value
from proxy.ledger.reading import Recent
from tests.ledger.postgresql.books import books
from tests.ledger.samples import START_MS, make_record

pytestmark = pytest.mark.whole  # a server of its own


def test_recent_use_is_that_of_all_writers() -> None:
    with books() as many:
        for writer in ("a", "b"):
            old = make_record(ord(writer), started_at_ms=START_MS - 300_000, charge_nano=2**55)
            new = make_record(ord(writer) + 9, started_at_ms=START_MS, end_user=writer)
            many.book(old, new, writer=writer)
        with opened(many.url, writes=False) as connection:
            found = recent(connection, START_MS - 600_000, START_MS + 1)
            used = used_by_value(connection, None, START_MS - 600_000)
    assert [(type(row), row.requests, row.charge_nano) for row in found] == [
        (Recent, 2, 2**56),
        (Recent, 1, None),
        (Recent, 1, None),
    ]
    assert all(type(row.charge_nano) in (int, type(None)) for row in (*found, *used))
    assert {(row.value, row.requests, row.charge_nano) for row in used} == {
        (None, 2, 2**56),
        ("a", 1, None),
        ("b", 1, None),
    }

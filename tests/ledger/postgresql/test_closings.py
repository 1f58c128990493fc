"""Closed months in PostgreSQL; the rest is in tests/ledger/contract/test_closings.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.ledger import LedgerOutdated
from tests.ledger.contract.test_closings import audit, closed
from tests.ledger.ledgers import opened_postgres

pytestmark = pytest.mark.whole  # a server of its own


async def test_two_processes_that_close_the_same_close_it_once(tmp_path: Path) -> None:
    with opened_postgres(tmp_path) as book:
        first, second = [await book.open(book.key_file) for _ in range(2)]
        try:
            statement = closed(book.key_file)
            done = await asyncio.gather(
                *(one.close_month(statement, audit(statement)) for one in (first, second)),
                return_exceptions=True,
            )
        finally:
            await first.aclose()
            await second.aclose()
        assert sorted(type(one) for one in done if one is not None) == [LedgerOutdated]
        assert len(book.reader().closings()) == len(book.reader().audit(0, 9)) == 1

"""Terms of prices in PostgreSQL, whose records are in the partitions of their months."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger import Batch
from proxy.ledger.postgresql import verify_prices
from proxy.ledger.price_check import PART
from proxy.ledger.verification import verify
from tests.ledger.ledgers import opened_postgres
from tests.ledger.samples import START_MS, make_id, make_record, numbered

DAY_MS = 86_400_000


def test_records_of_all_months_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_prices, "STEP_ROWS", 2)
    starts = [START_MS - n * 31 * DAY_MS for n in range(6)]
    records = [
        make_record(n, id=make_id(n, at_ms), started_at_ms=at_ms, price_version=f"v{n}")
        for n, at_ms in enumerate(starts)
    ]
    with opened_postgres(tmp_path) as book:
        book.batch(Batch("w0", numbered(*records)))
        found = verify(book.reader(), None, parts=(PART,))
        assert [finding.id for finding in found.findings] == sorted(r.id for r in records)

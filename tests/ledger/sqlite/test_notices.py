"""Notices in a database that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger import LedgerUnavailable, connect
from tests.ledger.contract.test_notices import told


async def test_a_database_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    ledger = await connect("sqlite:ledger.db", tmp_path)
    (tmp_path / "ledger.db").unlink()
    with pytest.raises(LedgerUnavailable):
        await ledger.claim_notices([told("a")], 0)
    with pytest.raises(LedgerUnavailable):
        await ledger.notices_sent(["m1"])
    await ledger.aclose()

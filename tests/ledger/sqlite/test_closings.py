"""Closed months in a file; the rest is in tests/ledger/contract/test_closings.py."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from proxy.ledger import connect_reader
from proxy.ledger.sqlite.closings import STATEMENTS_SINCE
from proxy.ledger.sqlite.schema import MIGRATIONS, migrate


def test_a_file_of_an_earlier_version_has_no_closed_months(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    migrate(connection, "x", MIGRATIONS[: STATEMENTS_SINCE - 1])
    connection.close()
    reader = connect_reader("sqlite:ledger.db", tmp_path)
    assert (reader.closings(), reader.closed_statement(1)) == ([], None)

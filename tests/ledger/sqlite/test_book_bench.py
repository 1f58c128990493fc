"""The ledger that the benchmark of large books makes is one: what is measured on it holds for a
real one."""

from __future__ import annotations

import sqlite3
from datetime import UTC
from pathlib import Path

import pytest

from proxy.ledger import connect_reader
from proxy.ledger.sqlite.schema import SCHEMA_VERSION
from proxy.ledger.sqlite.sums import SUMS
from tests.bench.book import make, measure
from tests.ledger.samples import rows


def test_a_made_ledger_is_one_and_can_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "ledger.db", records=3000, keys=20, days=40)
    queries = connect_reader("sqlite:ledger.db", tmp_path)
    assert (queries.status().records, queries.status().schema_version) == (3000, SCHEMA_VERSION)
    connection = sqlite3.connect(tmp_path / "ledger.db")
    (plain,) = rows(
        connection,
        f"SELECT {', '.join(f'sum({expression})' for _, expression in SUMS)} FROM records WHERE currency = 'USD'",
    )
    assert len(rows(connection, "SELECT DISTINCT key_id FROM records")) == 20
    assert rows(connection, "SELECT name FROM sqlite_schema WHERE name = 'records_known'") == [
        ("records_known",)
    ]
    connection.close()
    for by in ([], ["source"]):
        assert tuple(queries.usage(by, None, None, UTC)[1][name] for name, _ in SUMS) == plain
    measure(tmp_path, rounds=1)
    assert "a start: every limit's count" in capsys.readouterr().out

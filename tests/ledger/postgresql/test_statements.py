"""The temporary table gets each column in the type that it has."""

from __future__ import annotations

import pytest

from proxy.core.records.canonical import COLUMNS, row_values
from proxy.ledger.postgresql import statements
from tests.ledger.postgresql.databases import migrated
from tests.ledger.samples import make_record

NAMES = {"int8": "bigint", "int2": "smallint", "text": "text", "bytea": "bytea"}


@pytest.mark.whole  # a server of its own
def test_each_columns_type_is_the_tables() -> None:
    with migrated() as connection:
        found = dict(
            connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_name = 'records'"
            ).fetchall()
        )
    own = ["chain", "chain_seq", "head_seq", *(name for name in COLUMNS if name != "seq")]
    assert {
        name: NAMES[kind] for name, kind in zip(own, statements.STAGE_TYPES, strict=True)
    } == found


def test_places_in_a_row() -> None:
    row = row_values(make_record(0), 17, 99)
    assert (row[statements.SEQ], row[statements.BOOKED_AT]) == (17, 99)
    assert row[statements.STARTED_AT] == make_record(0).started_at_ms
    assert len(row) + 1 == statements.HASH

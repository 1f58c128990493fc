"""No row of the book changes, and of those a checkpoint covers one may go with the right to it."""

from __future__ import annotations

import psycopg
import pytest

from proxy.ledger.postgresql.connection import Connection, opened
from proxy.ledger.postgresql.guards import APPEND_ONLY
from proxy.ledger.postgresql.schema import allow
from tests.ledger.postgresql.databases import migrated
from tests.ledger.postgresql.test_tables import TODAY_MS, fill
from tests.ledger.samples import make_id
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own

_ROW = {  # of each table but records
    "heads": "INSERT INTO heads VALUES ('w0', 1, 1, 1, '', 1, '', '')",
    "checkpoints": "INSERT INTO checkpoints VALUES ('w1', 1, 1, '', 1, '', '')",
    "archives": "INSERT INTO archives VALUES (1, 1, '2026-11', 1, 2, 3, '', '', 'f', 1, '', '{}', '', '', '')",
    "archived_sums": "INSERT INTO archived_sums VALUES (1, 1, 0, 'k')",
    "grants": "INSERT INTO grants VALUES (1, 'g', 1, 'l', NULL, 1, NULL, NULL, NULL)",
    "credit_links": "INSERT INTO credit_links VALUES (0, 1, 0, '', '', '', '')",
    "months": "INSERT INTO months VALUES (1, 1, '2026-11', 1, 1, '', '', '', '')",
    "statements": "INSERT INTO statements VALUES (1, '2026-11', 'UTC', NULL, 1, 2, 3, 1, 'o', '', '',"
    " '', '')",
    "price_versions": "INSERT INTO price_versions VALUES ('v', 1, '')",
    "audit": "INSERT INTO audit VALUES (1, 1, 'a', 'o', 'x', 'key', 'n', NULL, NULL, NULL,"
    " '', '', '', '')",
}


def filled() -> Connection:
    """A ledger with one row in each table of the book, and in each kind of partition."""
    connection = migrated()
    for id in (make_id(1), make_id(1, TODAY_MS), "odd"):
        fill(connection, id)
    for insert in _ROW.values():
        connection.execute(insert)
    return connection


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_rows_of_the_book_stay(table: str) -> None:
    with filled() as connection:
        parts = [
            name
            for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relname = %s OR oid IN (SELECT inhrelid FROM"
                " pg_inherits WHERE inhparent = %s::regclass) ORDER BY 1",
                (table, table),
            )
        ]
        assert len(parts) == (6 if table == "records" else 1)
        before = connection.execute(f"SELECT * FROM {table}").fetchall()
        assert before
        column = "id" if table == "records" else "key_name" if table == "heads" else None
        for name in parts:
            full = connection.execute(f"SELECT 1 FROM {name}").fetchone() is not None
            for change in (
                f"DELETE FROM {name}",
                f"TRUNCATE {name}",
                f"TRUNCATE {name} CASCADE",
                *([f"UPDATE {name} SET {column} = 'x'"] if column else []),
            ):
                if full or change.startswith("TRUNCATE"):
                    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                        connection.execute(change)
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            connection.execute(f"DELETE FROM {table}")
        assert connection.execute(f"SELECT * FROM {table}").fetchall() == before


def test_what_a_checkpoint_covers_may_be_deleted_and_nothing_else() -> None:
    with filled() as connection:
        connection.execute("INSERT INTO heads VALUES ('w1', 1, 7, 1, '', 1, '', '')")
        connection.execute("INSERT INTO heads VALUES ('w1', 2, 8, 1, '', 1, '', '')")
        assert connection.execute("DELETE FROM heads WHERE seq = 7").rowcount == 1
        for change in (
            "DELETE FROM heads WHERE seq = 8",
            "UPDATE heads SET rows = 9",
            "DELETE FROM records",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                connection.execute(change)
        connection.execute("INSERT INTO checkpoints VALUES ('', 0, 9, '', 1, '', '')")
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            connection.execute("UPDATE records SET chain = 'x'")
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            connection.execute("TRUNCATE records")
        assert connection.execute("DELETE FROM records").rowcount == 3


def test_a_table_of_the_same_name_of_ones_own_lets_nothing_go() -> None:
    with filled() as owner:
        owner.execute("DROP ROLE IF EXISTS archivist")
        owner.execute("CREATE ROLE archivist LOGIN")
        allow(owner, "archivist")
        owner.execute("GRANT DELETE ON records, heads TO archivist")
        url = postgres().url(owner.info.dbname, "archivist")
        with opened(url, writes=True) as connection:
            connection.execute("SET search_path = pg_temp, public")
            connection.execute("CREATE TEMP TABLE checkpoints (chain text, chain_seq bigint)")
            connection.execute("INSERT INTO pg_temp.checkpoints VALUES ('w0', 99), ('', 99)")
            for table in ("records", "heads"):
                with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                    connection.execute(f"DELETE FROM public.{table}")
        owner.execute("DROP OWNED BY archivist")

"""What stands in the book can neither be changed nor taken out, by any way but its owner's."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from proxy.core.records.canonical import COLUMNS
from proxy.ledger.postgresql.connection import Connection, opened
from proxy.ledger.postgresql.schema import add_months, allow, migrate
from proxy.ledger.postgresql.tables import APPEND_ONLY, RIGHTS
from proxy.ledger.sqlite import schema as sqlite_schema
from tests.ledger.postgresql.databases import TODAY, migrated
from tests.ledger.samples import START_MS, make_id
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own

TODAY_MS = START_MS + 30 * 86_400_000


def fill(connection: Connection, id: str) -> None:
    columns = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'records'"
    ).fetchall()
    names = ", ".join(name for name, _ in columns)
    values = ", ".join(
        f"'{id}'" if name == "id" else "''" if kind in ("text", "bytea") else "0"
        for name, kind in columns
    )
    connection.execute(f"INSERT INTO records ({names}) VALUES ({values})")


def test_a_name_stays_for_good() -> None:
    with migrated() as connection:
        connection.execute("INSERT INTO tenants VALUES ('key', 'alice', 1, '')")
        for change in ("DELETE FROM tenants", "TRUNCATE tenants"):
            with pytest.raises(psycopg.errors.RestrictViolation, match="never used again"):
                connection.execute(change)


def test_a_month_holds_the_ids_of_its_time_and_the_rest_goes_to_default() -> None:
    with migrated() as connection:
        for id in ("00000000-0000", "odd", "", "ZZ"):
            fill(connection, id)
        fill(connection, first := bound(connection, "2026-12-01"))
        fill(connection, next_first := bound(connection, "2027-01-01"))
        fill(connection, last := make_id(2**48 - 1, int(next_first.replace("-", ""), 16) - 1))
        places = dict(
            connection.execute("SELECT id, tableoid::regclass::text FROM records").fetchall()
        )
    assert places[first] == places[last] == "records_2026_12"
    assert places[next_first] == "records_2027_01"
    assert places["odd"] == places[""] == places["ZZ"] == "records_default"
    assert places["00000000-0000"] == "records_default"


def bound(connection: Connection, day: str) -> str:
    row = connection.execute("SELECT uuid_bound(%s::date::timestamp)", (day,)).fetchone()
    assert row is not None
    return str(row[0])


def test_the_months_do_not_hang_on_a_time_zone() -> None:
    with migrated() as connection:
        first = bound(connection, "2026-12-01")
        connection.execute("SET TIME ZONE 'Asia/Kolkata'")
        assert bound(connection, "2026-12-01") == first == make_id(0, 1_796_083_200_000)[:13]


def test_who_may_only_insert_can_do_all_that_a_process_does_and_no_more() -> None:
    with migrated() as owner:
        owner.execute("DROP ROLE IF EXISTS app")
        owner.execute("CREATE ROLE app LOGIN")
        allow(owner, "app")
        url = postgres().url(owner.info.dbname, "app")
        with opened(url, writes=True) as app:
            assert migrate(app, "it") == []
            fill(app, make_id(1))
            app.execute("UPDATE cursor SET seq = 1")
            app.execute("CREATE TEMP TABLE stage (LIKE records)")
            assert add_months(app, TODAY) == 0
            for forbidden in (
                "DROP TABLE records",
                "ALTER TABLE records DISABLE TRIGGER append_only",
                "ALTER TABLE records DETACH PARTITION records_default",
                "DROP TRIGGER append_only ON heads",
                "TRUNCATE heads",
                "UPDATE heads SET seal = ''",
                "DELETE FROM records",
                "DELETE FROM journal_positions",
                "SET session_replication_role = replica",
                "CREATE TABLE another (n int)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(forbidden)
        owner.execute("DROP OWNED BY app")


def test_every_column_of_a_record_has_its_place() -> None:
    """`seq` is of the view: a row of the table does not have it yet."""
    with migrated() as connection:
        found = connection.execute("SELECT * FROM book").description
        assert found is not None
        assert {column.name for column in found} == {*COLUMNS, "chain", "chain_seq", "head_seq"}


def test_both_databases_have_the_same_append_only_tables() -> None:
    assert set(APPEND_ONLY) == set(sqlite_schema.APPEND_ONLY)


def test_the_page_for_operators_grants_the_same_rights() -> None:
    page = " ".join((Path(__file__).parents[3] / "docs/scale.md").read_text().split())
    given = " ".join(RIGHTS.format(schema="public", role="tollkeeper_app").split())
    for grant in given.split(";")[:-1]:
        assert f"{grant.strip()};" in page

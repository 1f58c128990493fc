"""A ledger is brought to the present schema by its owner, and who books there owns nothing."""

from __future__ import annotations

import json
import sqlite3

import pytest

from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.schema import SCHEMA_VERSION, owns_the_book
from proxy.ledger.sqlite import schema as sqlite_schema
from tests.ledger.postgresql.books import books
from tests.ledger.samples import make_record
from tests.support.postgres import postgres


@pytest.mark.whole  # a server of its own
def test_the_owner_migrates_and_allows_the_role_of_the_processes(call):
    url = postgres().database()
    database = url.rpartition("/")[2]
    postgres().sql("CREATE ROLE cashier LOGIN")
    found = call("ledger", "migrate", "--url", url, "--allow", "cashier")
    assert found.exit_code == 0, found.output
    assert f"has schema version {SCHEMA_VERSION} now; it had 0." in found.stdout
    assert "cashier may book and read there." in found.stdout
    again = call("ledger", "migrate", "--url", url, "--json")
    assert json.loads(again.stdout)["before"] == SCHEMA_VERSION
    as_cashier = postgres().url(database, "cashier")
    with books(as_cashier) as book:
        book.book(make_record(0))
        book.agree()
    with opened(as_cashier, writes=True) as connection:
        assert not owns_the_book(connection)
    postgres().sql("DROP OWNED BY cashier", database)


@pytest.mark.whole  # a server of its own
@pytest.mark.parametrize(
    ("url", "role", "said"),
    [
        ("postgresql://owner:geheim@127.0.0.1:1/tk", None, "refused"),
        ("postgresql://owner:geh@eim@db/tk", None, "%40 for @"),
        ("postgres://owner:geheim@db/tk", None, "postgres://owner:***@db"),
        (None, "nobody_knows", 'role "nobody_knows" does not exist'),
    ],
)
def test_what_cannot_be_done_is_said_without_the_password(call, url, role, said):
    url = postgres().database() if url is None else url
    found = call("ledger", "migrate", "--url", url, *(["--allow", role] if role else []))
    assert found.exit_code == 1
    assert said in found.output and "eim" not in found.output


def test_a_ledger_in_sqlite_is_brought_up_too(call, home):
    (home / "config.yaml").write_text(
        "data_dir: var\nupstreams: {one: {base_url: 'http://127.0.0.1/v1', api_key: k}}\n"
        "routes: [{model: '*', upstream: one}]\n"
    )
    assert "the first start makes it" in call("ledger", "migrate").output
    (home / "var").mkdir()
    with sqlite3.connect(home / "var" / "ledger.db", isolation_level=None) as connection:
        sqlite_schema.migrate(connection, "it", sqlite_schema.MIGRATIONS[:9])
    connection.close()
    found = call("ledger", "migrate")
    assert f"has schema version {sqlite_schema.SCHEMA_VERSION} now; it had 9." in found.stdout
    assert "leave --allow out" in call("ledger", "migrate", "--allow", "x").output

"""What the roll-ups of a ledger in SQLite say beside its records."""

from __future__ import annotations

import sqlite3

from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.schema import MIGRATIONS
from proxy.ledger.sqlite.spans import KEYLESS_SINCE_VERSION
from proxy.ledger.sqlite.sums import FAMILIES, FIRST_SUMS, GROUPS, MORE_SUMS, SUMS
from tests.ledger.samples import rows


def agree(connection: sqlite3.Connection) -> None:
    """Quarter hours and wide spans say what the records and their moves say."""
    names, sums = ", ".join(GROUPS), ", ".join(f"sum({name})" for name, _ in SUMS)
    plain = [f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"]
    source = counted(Columns(plain, GROUPS, SUMS), "1")
    slow = f"SELECT bucket_ms, {names}, {sums} FROM ({source}) GROUP BY bucket_ms, {names}"
    assert set(
        rows(connection, f"SELECT bucket_ms, {names}, {', '.join(n for n, _ in SUMS)} FROM rollups")
    ) == set(rows(connection, slow))
    halves = ", ".join(
        f"sum({n}_high * 4294967296 + {n}_low)" if n.endswith("_nano") else f"sum({n})"
        for n, _ in SUMS
    )
    for family in FAMILIES:
        names = ", ".join(family.groups)
        for table, _ in family.wide:
            wide = f"SELECT {names}, {halves} FROM {table} JOIN {family.names} AS g ON g.id = group_id GROUP BY {names}"
            narrow = f"SELECT {names}, {sums} FROM rollups WHERE bucket_ms < (SELECT folded_until_ms FROM fold) GROUP BY {names}"
            assert set(rows(connection, wide)) == set(rows(connection, narrow)), table


def as_of_version_3(connection: sqlite3.Connection) -> None:
    """Roll-ups as a version made them that moved nothing, brought to this one."""
    names, sums = ", ".join(GROUPS), ", ".join(f"sum({expression})" for _, expression in FIRST_SUMS)
    for name, _ in MORE_SUMS:
        connection.execute(f"ALTER TABLE rollups DROP COLUMN {name}")
    connection.execute("DELETE FROM rollups")
    connection.execute(
        f"INSERT INTO rollups SELECT started_at_ms - started_at_ms % {BUCKET_MS}, {names}, {sums} FROM records GROUP BY 1, {names}"
    )
    for table in ("fold", *(table for family in FAMILIES for table in family.tables)):
        connection.execute(f"DROP TABLE {table}")
    # the others change no roll-up
    script = MIGRATIONS[2] + MIGRATIONS[3] + MIGRATIONS[7] + MIGRATIONS[KEYLESS_SINCE_VERSION - 1]
    connection.executescript(script)

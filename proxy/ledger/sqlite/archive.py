"""What the file keeps of archived months: seals, sums that stand for their records, and checks.

`pruning` takes the records out.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from proxy.core.records.canonical import canonical
from proxy.core.records.chain import Flaw
from proxy.ledger import RecordsArchived
from proxy.ledger.archives import ARCHIVE_COLUMNS, Archive, archive_flaws, archive_of, needed
from proxy.ledger.sqlite.sums import GROUPS, SUMS, added_quarters

ARCHIVES_SINCE: Final = 16  # the schema version
SUM_NAMES: Final = (*(name for name, _ in SUMS), "inconsistent_requests")
ARCHIVES: Final = """
CREATE TABLE archives (
    seq INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    month TEXT NOT NULL UNIQUE,
    first_start_ms INTEGER NOT NULL,
    last_start_ms INTEGER NOT NULL,
    archived_at_ms INTEGER NOT NULL,
    root BLOB NOT NULL,
    hash BLOB NOT NULL,
    file TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    totals TEXT NOT NULL,
    sums BLOB NOT NULL,
    key_name TEXT NOT NULL,
    seal BLOB NOT NULL
) STRICT;
CREATE TRIGGER archives_known BEFORE INSERT ON archives
    WHEN EXISTS (SELECT 1 FROM archives WHERE seq = NEW.seq OR month = NEW.month)
    BEGIN SELECT RAISE(IGNORE); END;
CREATE TABLE archived_sums (
    seq INTEGER PRIMARY KEY,
    archive_seq INTEGER NOT NULL,
    bucket_ms INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    team TEXT,
    model_requested TEXT,
    upstream TEXT NOT NULL,
    currency TEXT,
    requests INTEGER,
    input_tokens INTEGER,
    cached_tokens INTEGER,
    cache_write_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    cost_nano INTEGER,
    charge_nano INTEGER,
    reported_requests INTEGER,
    unpriced_requests INTEGER,
    cache_write_long_tokens INTEGER,
    searches INTEGER,
    inconsistent_requests INTEGER
) STRICT;
CREATE INDEX archived_sums_bucket ON archived_sums (bucket_ms);
CREATE TRIGGER archived_sums_known BEFORE INSERT ON archived_sums
    WHEN EXISTS (SELECT 1 FROM archived_sums WHERE seq = NEW.seq) BEGIN SELECT RAISE(IGNORE); END;
"""
_GROUPS: Final = ", ".join(GROUPS)
_SHOWN: Final = f"SELECT bucket_ms, {_GROUPS}, {', '.join(name for name, _ in SUMS)}"
_LINES: Final = f"{_SHOWN} FROM archived_sums WHERE bucket_ms >= ? AND bucket_ms < ?"
_SUMS: Final = (
    f"SELECT bucket_ms, {_GROUPS}, {', '.join(SUM_NAMES)} FROM archived_sums "
    "WHERE archive_seq = ? ORDER BY seq"
)
# A rebuild of the roll-ups begins with them.
ADD_ARCHIVED: Final = added_quarters(f"{_SHOWN} FROM archived_sums")


def archives(connection: sqlite3.Connection) -> list[Archive]:
    """Every archived month, the oldest first; none in a ledger of an earlier schema."""
    if not has_archived_sums(connection):
        return []
    query = f"SELECT {', '.join(ARCHIVE_COLUMNS)} FROM archives ORDER BY seq"
    rows = connection.execute(query)
    return [archive_of(row) for row in rows]


def check_in_book(
    connection: sqlite3.Connection, after: int, from_ms: int | None, to_ms: int | None
) -> None:
    """Raise RecordsArchived where records that are asked for are archived.

    They are those behind the seq `after`, started in [from_ms, to_ms), open where None.
    """
    if (reason := needed(archives(connection), after, from_ms, to_ms)) is not None:
        raise RecordsArchived(*reason)


def archived_flags(
    connection: sqlite3.Connection,
    groups: Sequence[str],
    span: tuple[str, Sequence[int]],
    only: Sequence[tuple[str, str]],
) -> list[tuple[tuple[Any, ...], int]]:
    """How many requests of archived months are flagged `inconsistent`, by group and currency.

    `groups` are expressions, `span` a condition on `bucket_ms` with its values, and `only` columns
    with the one value that each is to have.
    """
    if not has_archived_sums(connection):
        return []
    where, bounds = span
    chosen = "".join(f" AND {column} = ?" for column, _ in only)
    keys = ", ".join(str(n + 1) for n in range(len(groups) + 1))
    rows = connection.execute(
        f"SELECT {', '.join([*groups, 'currency', 'sum(inconsistent_requests)'])} FROM "
        f"archived_sums WHERE inconsistent_requests > 0 AND {where}{chosen} GROUP BY {keys}",
        [*bounds, *(value for _, value in only)],
    )
    return [(row[:-1], row[-1]) for row in rows]


def archived_lines(
    connection: sqlite3.Connection, bounds: tuple[int, int]
) -> Iterator[tuple[tuple[Any, ...], tuple[int | None, ...]]]:
    """What archived records of these quarter hours came to: each line's names, and its sums.

    A line may come more than once.
    """
    if has_archived_sums(connection):
        width = len(GROUPS) + 1
        for row in connection.execute(_LINES, bounds):
            yield row[:width], row[width:]


def archived_until(connection: sqlite3.Connection, from_ms: int, rows: int) -> int | None:
    """The quarter hour up to which there are so many sums of archived records; None: fewer."""
    if not has_archived_sums(connection):
        return None
    query = (
        "SELECT bucket_ms FROM archived_sums WHERE bucket_ms >= ? ORDER BY bucket_ms LIMIT 1 "
        "OFFSET ?"
    )
    row = connection.execute(query, (from_ms, rows)).fetchone()
    return None if row is None else int(row[0])


def flaws(connection: sqlite3.Connection, key: bytes | None) -> Iterator[Flaw]:
    """What is wrong with what the book keeps of archived months."""
    if not has_archived_sums(connection):
        return
    query = f"SELECT {', '.join(ARCHIVE_COLUMNS)} FROM archives ORDER BY seq"
    strays = connection.execute("SELECT DISTINCT archive_seq FROM archived_sums")
    yield from archive_flaws(
        connection.execute(query).fetchall(),
        lambda seq: sums_digest(connection, seq),
        dict(connection.execute("SELECT seq, hash FROM checkpoints")),
        [seq for (seq,) in strays.fetchall()],
        key,
    )


def has_archived_sums(connection: sqlite3.Connection) -> bool:
    """Whether it has the table: not if no process of this version has opened the ledger yet."""
    query = "SELECT 1 FROM sqlite_schema WHERE name = 'archived_sums'"
    return connection.execute(query).fetchone() is not None


def sums_digest(connection: sqlite3.Connection, archive_seq: int) -> bytes:
    """SHA-256 over the sums that are kept of one archive."""
    found = hashlib.sha256()
    for row in connection.execute(_SUMS, (archive_seq,)):
        found.update(canonical(row) + b"\n")
    return found.digest()

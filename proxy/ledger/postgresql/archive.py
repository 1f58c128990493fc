"""What a ledger in PostgreSQL keeps of archived months: seals, and sums that stand for records.

`pruning` takes the records out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from proxy.core.records.canonical import canonical
from proxy.core.records.chain import Flaw
from proxy.ledger import RecordsArchived
from proxy.ledger.archives import ARCHIVE_COLUMNS, Archive, archive_flaws, archive_of, needed
from proxy.ledger.copying import DUMPED
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.sums import GROUPS, NAMES

SUM_COLUMNS: Final = DUMPED["archived_sums"]  # with its place, and how many are `inconsistent`
_TEXT: Final = 'text COLLATE "C"'
ARCHIVES: Final = f"""
CREATE TABLE archives (
    seq bigint PRIMARY KEY,
    first_seq bigint NOT NULL,
    month {_TEXT} NOT NULL UNIQUE,
    first_start_ms bigint NOT NULL,
    last_start_ms bigint NOT NULL,
    archived_at_ms bigint NOT NULL,
    root bytea NOT NULL,
    hash bytea NOT NULL,
    file {_TEXT} NOT NULL,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    totals {_TEXT} NOT NULL,
    sums bytea NOT NULL,
    key_name {_TEXT} NOT NULL,
    seal bytea NOT NULL
);
CREATE TABLE archived_sums (
    seq bigint PRIMARY KEY,
    archive_seq bigint NOT NULL,
    bucket_ms bigint NOT NULL,
    {", ".join(f"{name} {_TEXT}" for name in GROUPS)},
    {", ".join(f"{name} numeric" for name in SUM_COLUMNS[3 + len(GROUPS) :])}
);
CREATE INDEX archived_sums_bucket ON archived_sums (bucket_ms);
"""

_GROUPS: Final = ", ".join(GROUPS)
_NAMES: Final = ", ".join(NAMES)
_ARCHIVES: Final = f"SELECT {', '.join(ARCHIVE_COLUMNS)} FROM archives ORDER BY seq"
# Behind the place and the archive there is what its digest is made of.
_SUMS: Final = (
    f"SELECT {', '.join(SUM_COLUMNS[2:])} FROM archived_sums WHERE archive_seq = %s ORDER BY seq"
)
_LEFT: Final = """
SELECT EXISTS (SELECT 1 FROM (SELECT chain, max(chain_seq) AS through FROM checkpoints GROUP BY 1)
  AS pruned WHERE EXISTS (SELECT 1 FROM records
    WHERE records.chain = pruned.chain AND chain_seq <= through))"""
# What archived records came to, as rows of sums with their time.
ARCHIVED: Final = f"SELECT bucket_ms AS at, {_GROUPS}, {_NAMES} FROM archived_sums"


def archives(connection: Connection) -> list[Archive]:
    """Every archived month, the oldest first."""
    return [archive_of(row) for row in connection.execute(_ARCHIVES.encode())]


def check_in_book(
    connection: Connection, after: int, from_ms: int | None, to_ms: int | None
) -> None:
    """Raise RecordsArchived where records that are asked for are archived.

    They are those behind the seq `after`, started in [from_ms, to_ms), open where None.
    """
    if (reason := needed(archives(connection), after, from_ms, to_ms)) is not None:
        raise RecordsArchived(*reason)


def source_of_records(connection: Connection) -> str:
    """What stands behind FROM for the records of the book, under the name `records`.

    Archived ones that are not deleted yet are not in it. To leave them out takes longer.
    """
    [left] = connection.execute(_LEFT).fetchone() or (False,)
    return "book AS records" if left else "records"


def sums_digest(connection: Connection, archive_seq: int) -> bytes:
    """SHA-256 over the sums that are kept of one archive."""
    found = hashlib.sha256()
    for row in connection.execute(_SUMS.encode(), (archive_seq,)):
        found.update(canonical([_plain(value) for value in row]) + b"\n")
    return found.digest()


def flaws(connection: Connection, key: bytes | None) -> Iterator[Flaw]:
    """What is wrong with what the book keeps of archived months."""
    strays = connection.execute("SELECT DISTINCT archive_seq FROM archived_sums").fetchall()
    yield from archive_flaws(
        connection.execute(_ARCHIVES.encode()).fetchall(),
        lambda seq: sums_digest(connection, seq),
        dict(connection.execute("SELECT seq, hash FROM checkpoints").fetchall()),
        [seq for (seq,) in strays],
        key,
    )


def archived_flags(
    connection: Connection, groups: Sequence[str], source: str, values: Any
) -> list[tuple[tuple[Any, ...], int]]:
    """How many requests of archived months are flagged `inconsistent`, by group and currency.

    `groups` are expressions. `source` is what follows FROM, with `archived_sums` in it and the
    conditions, and `values` are those that it names.
    """
    keys = ", ".join(str(n + 1) for n in range(len(groups) + 1))
    query = (
        f"SELECT {', '.join([*groups, 'currency', 'sum(inconsistent_requests)'])} FROM {source} "
        f"AND inconsistent_requests > 0 GROUP BY {keys}"
    )
    rows = connection.execute(query.encode(), values).fetchall()
    return [(row[:-1], int(row[-1])) for row in rows]


def _plain(value: Any) -> Any:
    """A sum comes as a decimal number, which has no places, and is hashed as an integer."""
    return value if value is None or isinstance(value, str) else int(value)

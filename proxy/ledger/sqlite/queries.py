"""What the ledger answers: usage by group, one record, the state of the book. Synchronous and
read-only, beside a running process or without one.

Each question opens the file, reads in one short transaction and closes it: a reader that stays
would keep the write-ahead log from being reset.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path

import msgspec

from proxy.core.records.canonical import COLUMNS, record_from
from proxy.core.usage import UsageRecord
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.sqlite import usage as grouping
from proxy.ledger.sqlite.files import database_path
from proxy.ledger.sqlite.schema import check_library, schema_version
from proxy.ledger.sqlite.spans import reach
from proxy.ledger.sqlite.usage import ALL_SUMS
from proxy.ledger.sqlite.usage import UsageRow as UsageRow

_EVER_MS = 2**63 - 1


class Entry(msgspec.Struct, frozen=True):
    """A record with what the ledger added when it was booked; the hashes as 64 hex digits."""

    record: UsageRecord
    seq: int
    booked_at_ms: int
    hash_version: int
    prev_hash: str
    hash: str


class Status(msgspec.Struct, frozen=True):
    """The state of the book. Times are Unix milliseconds; None where there is nothing yet.
    `writers` maps each writer to its booked journal position."""

    path: str
    schema_version: int
    bytes: int
    records: int
    adjustments: int
    first_seq: int | None
    last_seq: int | None
    last_hash: str | None
    last_booked_at_ms: int | None
    sealed_seq: int | None
    writers: dict[str, int]


class Queries:
    """Questions to one ledger file."""

    def __init__(self, url: str, data_dir: Path) -> None:
        check_library()
        self.path = database_path(url, data_dir)

    def usage(
        self,
        by: Sequence[str],
        from_ms: int | None,
        to_ms: int | None,
        zone: tzinfo,
        *,
        sums: Sequence[str] = ALL_SUMS,
    ) -> list[UsageRow]:
        """Sums by group and currency over records started in [from_ms, to_ms), open where None,
        sorted by group (a missing name first), then currency.

        Each row has the groups' names, then `requests input_tokens … charge_nano currency
        reported_requests unpriced_requests inconsistent_requests`, or those of them that `sums`
        names. `day` and `hour` are of `zone`. Raises LedgerError for a name that cannot be grouped
        by.
        """
        grouping.check(by)
        with self._reading() as connection:
            return grouping.grouped(
                connection,
                reach(connection, schema_version(connection, str(self.path))),
                by,
                from_ms,
                to_ms,
                zone,
                sums,
            )

    def record(self, id: str) -> Entry | None:
        """One record by id; None if the ledger has none."""
        with self._reading() as connection:
            found = _entries(
                connection.execute(f"SELECT {', '.join(COLUMNS)} FROM records WHERE id = ?", (id,))
            )
        return found[0] if found else None

    def adjustments(self, id: str) -> list[Entry]:
        """What corrects this record, in the order of booking."""
        with self._reading() as connection:
            return _entries(
                connection.execute(
                    f"SELECT {', '.join(COLUMNS)} FROM records WHERE adjusts = ? ORDER BY seq",
                    (id,),
                )
            )

    def refusals(self, from_ms: int | None, to_ms: int | None) -> list[tuple[str | None, str, int]]:
        """(key, code, how many) of the requests refused in [from_ms, to_ms), to the quarter hour,
        the most first; key None where none was known."""
        query = "SELECT key_id, code, sum(count) FROM refusals WHERE bucket_ms >= ? AND bucket_ms < ? GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
        bounds = (0 if from_ms is None else from_ms, _EVER_MS if to_ms is None else to_ms)
        with self._reading() as connection:
            return [(key, code, count) for key, code, count in connection.execute(query, bounds)]

    def sources(self, from_ms: int, records_max: int) -> dict[tuple[str, str], int]:
        """How many requests by (upstream, source) among the latest records, from a time on."""
        query = (
            "SELECT upstream, source, count(*) FROM (SELECT upstream, source, kind, started_at_ms FROM records "
            "ORDER BY seq DESC LIMIT ?) WHERE kind = 'usage' AND started_at_ms >= ? GROUP BY 1, 2"
        )
        with self._reading() as connection:
            rows = connection.execute(query, (records_max, from_ms))
            return {(upstream, source): count for upstream, source, count in rows}

    def served_models(self) -> list[tuple[str, str, str]]:
        """Each (upstream, model asked for, model that answered) of which there is a record."""
        with self._reading() as connection:
            if schema_version(connection, str(self.path)) < 6:
                return []  # a ledger that no process of this version has opened yet
            query = "SELECT upstream, model_requested, model_served FROM served_models"
            return connection.execute(query).fetchall()

    def price_terms(self, version: str) -> bytes | None:
        """What the amounts of the records with this `price_version` were made with; None if the
        ledger was not told."""
        with self._reading() as connection:
            if schema_version(connection, str(self.path)) < 2:
                return None  # a ledger that no process of this version has opened yet
            row = connection.execute(
                "SELECT terms FROM price_versions WHERE version = ?", (version,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def price_terms_at(self, at_ms: int) -> bytes | None:
        """The terms that were stored last before that time, else the first that were stored at
        all."""
        with self._reading() as connection:
            if schema_version(connection, str(self.path)) < 2:
                return None
            query = "SELECT terms FROM price_versions ORDER BY stored_at_ms > ?, abs(stored_at_ms - ?), version LIMIT 1"
            row = connection.execute(query, (at_ms, at_ms)).fetchone()
        return None if row is None else bytes(row[0])

    def status(self) -> Status:
        """How many records, how far, sealed up to where."""
        with self._reading() as connection:
            version = schema_version(connection, str(self.path))
            first_seq, last_seq = connection.execute(
                "SELECT (SELECT min(seq) FROM records), (SELECT max(seq) FROM records)"
            ).fetchone()
            last = connection.execute(
                "SELECT hash, booked_at_ms FROM records WHERE seq = ?", (last_seq,)
            ).fetchone()
            (adjustments,) = connection.execute(
                "SELECT count(*) FROM records WHERE adjusts IS NOT NULL"
            ).fetchone()
            (sealed_seq,) = connection.execute("SELECT max(seq) FROM heads").fetchone()
            writers = dict(
                connection.execute("SELECT writer, seq FROM journal_positions ORDER BY writer")
            )
        return Status(
            path=str(self.path),
            schema_version=version,
            bytes=_bytes(self.path) + _bytes(Path(f"{self.path}-wal")),
            records=0 if last_seq is None else last_seq - first_seq + 1,
            adjustments=adjustments,
            first_seq=first_seq,
            last_seq=last_seq,
            last_hash=None if last is None else last[0].hex(),
            last_booked_at_ms=None if last is None else last[1],
            sealed_seq=sealed_seq,
            writers=writers,
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One read transaction on a read-only connection. Raises LedgerError without a ledger to
        read, LedgerUnavailable when SQLite cannot read it."""
        with reading(self.path) as connection:
            yield connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection in one transaction, closed at the end."""
    with connected(path) as connection:
        connection.execute("BEGIN")
        yield connection


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection, closed at the end; each statement on it is a transaction of its own.
    One thread at a time may use it."""
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path} yet: `tollkeeper serve` makes it")
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=5.0,
            check_same_thread=False,
        )
        try:
            if schema_version(connection, str(path)) == 0:
                raise LedgerError(f"{path} is empty: `tollkeeper serve` makes the ledger")
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot read {path}: {error}") from error


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # the last one that closes a database takes its -wal away
        return 0


def _entries(cursor: sqlite3.Cursor) -> list[Entry]:
    found = []
    for row in cursor:
        stored = dict(zip(COLUMNS, row, strict=True))
        found.append(
            Entry(
                record=record_from(stored),
                seq=stored["seq"],
                booked_at_ms=stored["booked_at_ms"],
                hash_version=stored["hash_version"],
                prev_hash=stored["prev_hash"].hex(),
                hash=stored["hash"].hex(),
            )
        )
    return found

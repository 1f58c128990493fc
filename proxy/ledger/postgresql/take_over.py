"""Takes a dumped ledger over into an empty database, in one transaction."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg import sql

from proxy.core.records.canonical import COLUMNS
from proxy.ledger import LedgerError
from proxy.ledger.copying import COMPARED_BY, DUMPED, Copied, Dump, Told, totals
from proxy.ledger.grouping import Ask
from proxy.ledger.postgresql import usage
from proxy.ledger.postgresql.address import name
from proxy.ledger.postgresql.archive import flaws as archive_flaws
from proxy.ledger.postgresql.connection import COMMITTING, LEDGER, Connection, lock, meant, opened
from proxy.ledger.postgresql.digests import digest
from proxy.ledger.postgresql.rebuild import rebuilt
from proxy.ledger.postgresql.schema import migrate
from proxy.ledger.postgresql.verify import verify_book, verify_step
from proxy.ledger.postgresql.verify_prices import changed_terms
from proxy.ledger.reading import ALL_SUMS

CHAIN: Final = "copied"  # all that was booked before is one chain, of all its writers
_TOLD_ROWS: Final = 1000
# No limit for work that takes as long as the book is: nothing waits for it.
_PATIENCE: Final = """
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
"""
_SPAN: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}")
_RECORD_COLUMNS: Final = (*(column for column in COLUMNS if column != "seq"),)
# What the tables have beside the columns of a dump.
_CHAINED: Final = ("heads", "checkpoints")


def take_over(url: str, dump: Dump, key: bytes | None, told: Told) -> Copied:
    """Copy the dump into the database of this URL; see `proxy.ledger.copying.copy`."""
    with opened(url, writes=True) as connection:
        migrate(connection, name(url))
        try:
            with connection.transaction():
                connection.execute(_PATIENCE)
                # No process commits a batch meanwhile.
                connection.execute(f"SELECT pg_advisory_xact_lock({lock(LEDGER, COMMITTING)})")
                _check_empty(connection, name(url))
                _Copy(connection, dump, told).whole()
                return _checked(connection, dump, key, told)
        except psycopg.Error as error:
            raise meant(error, name(url)) from error


def _check_empty(connection: Connection, ledger: str) -> None:
    full = [table for table in DUMPED if _count(connection, table)]
    if full:
        raise LedgerError(
            f"{ledger} is not empty, it has rows in {', '.join(full)}: a ledger is copied into an "
            "empty database; make a new one, or another schema in it"
        )


class _Copy:
    """The rows of a dump on their way into the database."""

    def __init__(self, connection: Connection, dump: Dump, told: Told) -> None:
        self._connection = connection
        self._dump = dump
        self._told = told

    def whole(self) -> None:
        for table in DUMPED:
            if table == "records":
                self._add_months()
            self._table(table)
        self._end()
        self._told("summing up records", self._dump.count("records"))
        self._sum_up()

    def _table(self, table: str) -> None:
        columns, rows = DUMPED[table], self._dump.rows(table)
        if table == "records":
            columns, rows = (
                ("chain", "chain_seq", "head_seq", *_RECORD_COLUMNS),
                self._records(rows),
            )
        elif table in _CHAINED:
            columns = ("chain", "chain_seq", *columns)
            rows = ((CHAIN, row[0], *row) for row in rows)
        elif table == "refusals":
            columns = (*columns, "digest")
            rows = ((*row, digest(row[1], row[2], *row[4:])) for row in rows)
        elif table == "notices":
            columns, rows = (*columns, "digest"), ((*row, digest(*row[:2])) for row in rows)
        elif table == "journal_positions":
            columns, rows = (*columns, "batch"), ((*row, "") for row in rows)
        target = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        count = 0
        with self._connection.cursor() as cursor, cursor.copy(target) as copy:
            for count, row in enumerate(rows, start=1):
                try:
                    copy.write_row(row)
                except (psycopg.DataError, UnicodeEncodeError) as error:
                    raise LedgerError(
                        f"{self._dump.name}: a row of {table} cannot be stored in PostgreSQL, and "
                        f"changed it would not fit its hash: {_first_text(row)}: {error}"
                    ) from error
                if count % _TOLD_ROWS == 0:
                    self._told(table, count)

    def _records(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Each record with its place in the chain, and with the place of its batch's last row."""
        at = COLUMNS.index("seq")
        ends = (head[0] for head in self._dump.rows("heads"))
        end = 0
        for row in rows:
            seq = row[at]
            while end < seq:
                end = next(ends, seq)
            yield (CHAIN, seq, end, *row[:at], *row[at + 1 :])

    def _add_months(self) -> None:
        """The partitions of the months that the records are of, as far as they can be added."""
        ids = [row for row in self._dump.id_span() if _SPAN.match(row)]
        if len(ids) < 2:
            return
        first, last = (_month(id) for id in ids)
        month = max(first, datetime.date(2020, 1, 1))
        while month <= min(last, datetime.datetime.now(datetime.UTC).date()):
            self._connection.execute("SELECT add_month(%s)", (month,))
            month = (month.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)

    def _end(self) -> None:
        """The book's end is that of the copied chain."""
        self._connection.execute(
            "UPDATE cursor SET seq = coalesce((SELECT max(seq) FROM heads), "
            "(SELECT max(seq) FROM checkpoints), 0)"
        )
        self._connection.execute("ANALYZE records, heads")

    def _sum_up(self) -> None:
        """Make the roll-ups of the records, as far as those of the dump reached."""
        self._connection.execute(
            "UPDATE fold SET folded_until_ms = %s", (self._dump.folded_until_ms(),)
        )
        rebuilt(self._connection)


def _checked(connection: Connection, dump: Dump, key: bytes | None, told: Told) -> Copied:
    """What is equal on both sides. Raises LedgerError where something is not."""
    counts = {table: _count(connection, table) for table in DUMPED}
    for table, count in counts.items():
        if count != (expected := dump.count(table)):
            raise LedgerError(f"{count} of {expected} rows of {table} arrived: nothing was copied")
    told("checking hashes", counts["records"])
    verified = verify_book(connection, key)
    problems = [
        *verified.problems,
        *(flaw.what for flaw in archive_flaws(connection, key)),
        *(
            flaw.what
            for part in ("credits", "audit")
            for flaw in verify_step(connection, part, None, key).findings
        ),
        # Terms that the source has not got keep it from nothing.
        *(flaw.what for flaw in changed_terms(connection)),
    ]
    if problems:
        raise LedgerError(
            f"nothing was copied, as {dump.name} does not verify: {'; '.join(problems)}"
        )
    told("checking sums", counts["records"])
    ask = Ask(COMPARED_BY, None, None, datetime.UTC, ALL_SUMS)
    booked = usage.grouped(connection, ask)
    if booked != dump.usage():
        raise LedgerError("the sums of both ledgers differ: nothing was copied")
    requests, charges = totals(booked)
    last = connection.execute(
        "SELECT seq, hash FROM heads UNION ALL SELECT seq, hash FROM checkpoints "
        "ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return Copied(
        rows=counts,
        last_seq=0 if last is None else last[0],
        last_hash=None if last is None else last[1].hex(),
        charges=charges,
        requests=requests,
        seals=verified.seals,
        seals_of_other_keys=verified.seals_of_other_keys,
    )


def _count(connection: Connection, table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    [count] = connection.execute(query).fetchone() or (0,)
    return int(count)


def _month(id: str) -> datetime.date:
    """The first day of the month that a UUIDv7 is of."""
    at = datetime.datetime.fromtimestamp(int(id[:8] + id[9:13], 16) // 1000, datetime.UTC)
    return at.date().replace(day=1)


def _first_text(row: tuple[Any, ...]) -> str:
    return next((repr(value) for value in row if isinstance(value, str) and value != CHAIN), "?")

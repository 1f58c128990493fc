"""A ledger in a database of its own, for tests of what is booked, and for the contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, Booked
from proxy.ledger.late_prices import Columns, counted
from proxy.ledger.postgresql.booking import PostgresBooker
from proxy.ledger.postgresql.line import Line
from proxy.ledger.postgresql.sums import FAMILIES, GROUPS, IN_THE_BOOK, NAMES, SUMS, bucket
from tests.ledger.samples import KEY, START_MS, numbered
from tests.support.postgres import postgres

BOOKED_MS = START_MS + 5000


class Books:
    """One process's way to a ledger. Several may be on one URL."""

    def __init__(self, url: str | None = None, *, fail: FaultPoint = no_fault) -> None:
        self.url = postgres().database() if url is None else url
        self.now_ms = BOOKED_MS
        self.line = Line(self.url)
        self.booker = PostgresBooker(self.line, KEY, lambda: self.now_ms, fail)
        self._seqs: dict[str, int] = {}

    def book(self, *records: UsageRecord, writer: str = "w0") -> Booked:
        """Book one batch of closes behind those before."""
        after = self._seqs.get(writer, 0)
        self._seqs[writer] = after + len(records)
        return self.booker.book(Batch(writer, numbered(*records, after=after)))

    def batch(self, batch: Batch) -> Booked:
        return self.booker.book(batch)

    def adjust(self, *adjustments: UsageRecord) -> Booked:
        return self.booker.adjust(adjustments)

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The answer; numerics as integers, as they are in SQLite."""
        found = self.line.ask(lambda one: one.execute(query, parameters or None).fetchall())  # type: ignore[arg-type]
        return [tuple(plain(value) for value in row) for row in found]

    def do(self, statements: str) -> None:
        """Run SQL that gives no rows."""
        self.line.ask(lambda one: one.execute(statements))  # type: ignore[arg-type, return-value]

    def agree(self) -> None:
        """Assert that the roll-ups of each width say what the records say."""
        [(until_ms,)] = self.rows("SELECT folded_until_ms FROM fold")
        assert sums_of(self.rows, "rollups") == sums_of_records(self.rows, bucket())
        for family in FAMILIES:
            for table, start in family.wide:
                source = f"{table} JOIN {family.names} ON id = group_id"
                assert sums_of(self.rows, source, family.groups) == sums_of_records(
                    self.rows,
                    start.format(at="started_at_ms"),
                    f"{bucket('{row}.started_at_ms')} < {until_ms}",
                    family.groups,
                ), table

    def close(self) -> None:
        self.line.close()


Rows = Callable[[str], list[tuple[Any, ...]]]


def sums_of(
    rows: Rows, source: str, groups: Sequence[str] = GROUPS
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The sums of a roll-up by span and group, over all writers; without lines of nothing."""
    names, sums = ", ".join(groups), ", ".join(f"sum({name})" for name in NAMES)
    query = f"SELECT bucket_ms, {names}, {sums} FROM {source} GROUP BY 1, {names}"
    return keyed(rows(query), 1 + len(groups))


def sums_of_records(
    rows: Rows, start: str, where: str = "true", groups: Sequence[str] = GROUPS
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The same from the records."""
    source = counted(Columns(["started_at_ms AS started_at_ms"], GROUPS, SUMS), where, IN_THE_BOOK)
    names, sums = ", ".join(groups), ", ".join(f"sum({name})" for name in NAMES)
    query = f"SELECT {start}, {names}, {sums} FROM ({source}) AS s GROUP BY 1, {names}"
    return keyed(rows(query), 1 + len(groups))


def keyed(found: Sequence[tuple[Any, ...]], width: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {row[:width]: row[width:] for row in found}


def plain(value: Any) -> Any:
    return int(value) if type(value).__name__ == "Decimal" else value


@contextlib.contextmanager
def books(url: str | None = None, *, fail: FaultPoint = no_fault) -> Iterator[Books]:
    """An empty ledger, or another way to one."""
    found = Books(url, fail=fail)
    with contextlib.closing(found):
        yield found


def key_file(directory: Path) -> Path:
    """A file with the tests' key."""
    path = directory / "ledger.key"
    path.write_text(KEY.hex())
    return path

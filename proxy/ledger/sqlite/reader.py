"""The reader of a ledger in SQLite: usage by group, one record, the state of the book, pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from datetime import tzinfo
from pathlib import Path

from proxy.core.limits.credit import Credit
from proxy.core.managed import Managed
from proxy.core.records.anchors import Anchor
from proxy.core.records.canonical import COLUMNS
from proxy.core.records.checkpoints import RecordProof
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.ledger import LedgerError, grouping
from proxy.ledger.archives import Archive
from proxy.ledger.months import prove
from proxy.ledger.reading import (
    ALL_SUMS,
    PAGE_SEQS,
    AuditEntry,
    Entry,
    KeptAnswer,
    Listing,
    Page,
    Recent,
    RefusalSum,
    RowChoice,
    Status,
    Stretch,
    Tariff,
    TariffPage,
    UsageRow,
    ValueUse,
    entries,
)
from proxy.ledger.sealing_key import read_key
from proxy.ledger.sqlite import closings, pages, tariffs
from proxy.ledger.sqlite import credits as granted
from proxy.ledger.sqlite import refusals as refused
from proxy.ledger.sqlite import tenants as managed
from proxy.ledger.sqlite import usage as summed
from proxy.ledger.sqlite.anchoring import take_anchor
from proxy.ledger.sqlite.archive import archives
from proxy.ledger.sqlite.listing import last_used, listed
from proxy.ledger.sqlite.months import MONTHS_SINCE, SqliteMonths
from proxy.ledger.sqlite.read_only import connected, reading
from proxy.ledger.sqlite.recent import recent, used_by_value
from proxy.ledger.sqlite.schema import schema_version
from proxy.ledger.sqlite.spans import reach
from proxy.ledger.sqlite.verify import verify_step
from proxy.ledger.sqlite.verify_shares import verify_shares
from proxy.ledger.verification import VerifyStep

TENANTS_SINCE = 9  # the schema version


class SqliteReader:
    """See `proxy.ledger.reading.Reader`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """See `Reader.name`."""
        return str(self._path)

    def usage(
        self,
        by: Sequence[str],
        from_ms: int | None,
        to_ms: int | None,
        zone: tzinfo,
        *,
        sums: Sequence[str] | None = None,
        team: str | None = None,
        through: int | None = None,
        key: str | None = None,
    ) -> list[UsageRow]:
        """See `Reader.usage`."""
        grouping.check(by)
        with self._reading() as connection:
            return summed.grouped(
                connection,
                reach(connection, schema_version(connection, str(self._path))),
                grouping.Ask(
                    by, from_ms, to_ms, zone, ALL_SUMS if sums is None else sums, team, through, key
                ),
            )

    def record(self, id: str) -> Entry | None:
        """See `Reader.record`."""
        with self._reading() as connection:
            found = entries(
                connection.execute(f"SELECT {', '.join(COLUMNS)} FROM records WHERE id = ?", (id,))
            )
        return found[0] if found else None

    def adjustments(self, id: str) -> list[Entry]:
        """See `Reader.adjustments`."""
        with self._reading() as connection:
            return entries(
                connection.execute(
                    f"SELECT {', '.join(COLUMNS)} FROM records WHERE adjusts = ? ORDER BY seq",
                    (id,),
                )
            )

    def refusals(self, from_ms: int | None, to_ms: int | None) -> list[RefusalSum]:
        """See `Reader.refusals`."""
        with self._reading() as connection:
            version = schema_version(connection, str(self._path))
            return refused.sums(connection, version, from_ms, to_ms)

    def credits(self, limit_id: str | None, after: str | None, most: int) -> list[Credit]:
        """See `Reader.credits`."""
        with self._reading() as connection:
            return granted.newest(connection, limit_id, after, most)

    def tenants(self) -> list[Managed]:
        """See `Reader.tenants`."""
        with self._reading() as connection:
            return managed.tenants(connection) if self._has_tenants(connection) else []

    def audit(self, after: int, most: int) -> list[AuditEntry]:
        """See `Reader.audit`."""
        with self._reading() as connection:
            return managed.audit(connection, after, most) if self._has_tenants(connection) else []

    def audit_head(self) -> int:
        """See `Reader.audit_head`."""
        with self._reading() as connection:
            return managed.audit_head(connection) if self._has_tenants(connection) else 0

    def audit_problems(self, key_file: Path) -> list[str]:
        """See `Reader.audit_problems`."""
        with self._reading() as connection:
            return (
                list(managed.audit_problems(connection, read_key(key_file)))
                if self._has_tenants(connection)
                else []
            )

    def verify_step(self, part: str, place: str | None, key_file: Path | None) -> VerifyStep:
        """See `BookReader.verify_step`."""
        return verify_step(self._path, part, place, key_file)

    def verify_shares(self, part: str, count: int, key_file: Path | None) -> Sequence[str | None]:
        """See `Reader.verify_shares`."""
        return verify_shares(self._path, part, count, key_file)

    def anchor(self) -> Anchor:
        """See `BookReader.anchor`."""
        with self._reading() as connection:
            return take_anchor(connection, schema_version(connection, self.name), self.name)

    def proof(self, id: str) -> RecordProof | None:
        """See `BookReader.proof`."""
        with self._reading() as connection:
            if schema_version(connection, self.name) < MONTHS_SINCE:
                raise LedgerError("no month is sealed yet: `tollkeeper ledger seal` does it")
            return prove(SqliteMonths(connection), id)

    def archives(self) -> list[Archive]:
        """See `BookReader.archives`."""
        with self._reading() as connection:
            return archives(connection)

    def has_signatures(self) -> bool:
        """See `Reader.has_signatures`."""
        with self._reading() as connection:
            if schema_version(connection, self.name) < MONTHS_SINCE:
                return False
            sealed = SqliteMonths(connection).month_before(None) is not None
            return sealed or (
                self._has_statements(connection) and bool(closings.listed(connection))
            )

    def closings(self) -> list[Closing]:
        """See `BookReader.closings`."""
        with self._reading() as connection:
            return closings.listed(connection) if self._has_statements(connection) else []

    def closed_statement(self, number: int) -> ClosedStatement | None:
        """See `BookReader.closed_statement`."""
        with self._reading() as connection:
            return closings.one(connection, number) if self._has_statements(connection) else None

    def _has_statements(self, connection: sqlite3.Connection) -> bool:
        return schema_version(connection, self.name) >= closings.STATEMENTS_SINCE

    def last_used_ms(self, keys: Sequence[str] | None = None) -> dict[str, int]:
        """See `Reader.last_used_ms`."""
        with self._reading() as connection:
            if keys is not None:
                reached = reach(connection, schema_version(connection, self.name))
                return last_used(connection, reached, keys)
            return dict(connection.execute("SELECT key_id, max(bucket_ms) FROM rollups GROUP BY 1"))

    def _has_tenants(self, connection: sqlite3.Connection) -> bool:
        """Not in a ledger that no process of this version has opened yet."""
        return schema_version(connection, str(self._path)) >= TENANTS_SINCE

    def listed(self, choice: RowChoice, before: int | None = None, most: int = 50) -> Listing:
        """See `Reader.listed`."""
        with self._reading() as connection:
            reached = reach(connection, schema_version(connection, self.name))
            return listed(connection, reached, choice, before, most)

    def sources(self, from_ms: int, records_max: int) -> dict[tuple[str, str], int]:
        """See `Reader.sources`."""
        query = (
            "SELECT upstream, source, count(*) FROM (SELECT upstream, source, kind, started_at_ms "
            "FROM records "
            "ORDER BY seq DESC LIMIT ?) WHERE kind = 'usage' AND started_at_ms >= ? GROUP BY 1, 2"
        )
        with self._reading() as connection:
            rows = connection.execute(query, (records_max, from_ms))
            return {(upstream, source): count for upstream, source, count in rows}

    def served_models(self) -> list[tuple[str, str, str]]:
        """See `Reader.served_models`."""
        with self._reading() as connection:
            if schema_version(connection, str(self._path)) < 6:
                return []  # a ledger that no process of this version has opened yet
            query = "SELECT upstream, model_requested, model_served FROM served_models"
            return connection.execute(query).fetchall()

    def answers(self, dialects: Sequence[str], records_max: int) -> list[KeptAnswer]:
        """See `Reader.answers`."""
        query = (
            "SELECT upstream_request_id, key_id, team, upstream, model_requested,"
            " coalesce(input_tokens, 0) + coalesce(output_tokens, 0),"
            " CASE WHEN (finish_reason IN ('queued', 'in_progress') OR reason = 'later')"
            " AND NOT EXISTS (SELECT 1 FROM records AS later WHERE later.adjusts = latest.id)"
            " THEN id END, dialect"
            " FROM (SELECT * FROM records ORDER BY seq DESC LIMIT ?) AS latest"
            " WHERE kind = 'usage' AND upstream_request_id IS NOT NULL"
            " AND model_requested IS NOT NULL AND status BETWEEN 200 AND 299"
            f" AND endpoint NOT LIKE '%{{id}}%' AND (dialect IN ({','.join('?' * len(dialects))})"
            " OR reason = 'later')"
            " ORDER BY seq"
        )
        with self._reading() as connection:
            return [KeptAnswer(*row) for row in connection.execute(query, (records_max, *dialects))]

    def made_objects(
        self, dialect: str, records_max: int, objects_max: int
    ) -> list[tuple[str, str | None, str, str]]:
        """See `Reader.made_objects`."""
        query = (
            "SELECT upstream, team, key_id, upstream_request_id FROM records"
            " WHERE seq > (SELECT max(seq) FROM records) - ? AND dialect = ?"
            " AND upstream_request_id IS NOT NULL ORDER BY seq DESC LIMIT ?"
        )
        with self._reading() as connection:
            return connection.execute(query, (records_max, dialect, objects_max)).fetchall()[::-1]

    def price_terms(self, version: str) -> bytes | None:
        """See `Reader.price_terms`."""
        with self._reading() as connection:
            if schema_version(connection, str(self._path)) < 2:
                return None  # a ledger that no process of this version has opened yet
            row = connection.execute(
                "SELECT terms FROM price_versions WHERE version = ?", (version,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def price_terms_at(self, at_ms: int) -> bytes | None:
        """See `Reader.price_terms_at`."""
        with self._reading() as connection:
            if schema_version(connection, str(self._path)) < 2:
                return None
            query = (
                "SELECT terms FROM price_versions ORDER BY stored_at_ms > ?, abs(stored_at_ms - "
                "?), version LIMIT 1"
            )
            row = connection.execute(query, (at_ms, at_ms)).fetchone()
        return None if row is None else bytes(row[0])

    def status(self) -> Status:
        """See `Reader.status`."""
        with self._reading() as connection:
            version = schema_version(connection, str(self._path))
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
            path=str(self._path),
            schema_version=version,
            bytes=_bytes(self._path) + _bytes(Path(f"{self._path}-wal")),
            records=0 if last_seq is None else last_seq - first_seq + 1,
            adjustments=adjustments,
            first_seq=first_seq,
            last_seq=last_seq,
            last_hash=None if last is None else last[0].hex(),
            last_booked_at_ms=None if last is None else last[1],
            sealed_seq=sealed_seq,
            writers=writers,
        )

    def recent(self, since_ms: int, now_ms: int) -> list[Recent]:
        """See `Reader.recent`."""
        with self._reading() as connection:
            return recent(connection, since_ms, now_ms)

    def used_by_value(self, tag: str | None, since_ms: int) -> list[ValueUse]:
        """See `Reader.used_by_value`."""
        with self._reading() as connection:
            return used_by_value(connection, tag, since_ms)

    def head(self) -> int:
        """See `Reader.head`."""
        with self._reading() as connection:
            return pages.head(connection)

    def narrowed(self, stretch: Stretch) -> Stretch:
        """See `Reader.narrowed`."""
        with self._reading() as connection:
            return pages.narrowed(connection, stretch)

    def pages(
        self, stretch: Stretch, page_seqs: int = PAGE_SEQS, *, corrected: bool = False
    ) -> Generator[Page, None, None]:
        """See `Reader.pages`."""
        with connected(self._path) as connection:
            yield from pages.pages(connection, stretch, page_seqs, corrected=corrected)

    def by_tariff(
        self, stretch: Stretch, known: Sequence[Tariff]
    ) -> Generator[TariffPage, None, None]:
        """See `Reader.by_tariff`."""
        with connected(self._path) as connection:
            yield from tariffs.pages(connection, stretch, known)

    def label_names(self, stretch: Stretch) -> list[str]:
        """See `Reader.label_names`."""
        with connected(self._path) as connection:
            return pages.label_names(connection, stretch)

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        return reading(self._path)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # the last process to close a database removes its -wal
        return 0

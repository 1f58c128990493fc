"""The reader of a ledger in PostgreSQL, over the books of all writers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.managed import Audit, Managed
from proxy.core.records.anchors import Anchor
from proxy.core.records.canonical import COLUMNS
from proxy.core.records.checkpoints import RecordProof
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.ledger import QuestionRefused, audit_chain, closed, grouping
from proxy.ledger.archives import Archive
from proxy.ledger.months import prove
from proxy.ledger.postgresql import closings, pages, recent, tariffs, usage
from proxy.ledger.postgresql.address import name
from proxy.ledger.postgresql.anchoring import take_anchor
from proxy.ledger.postgresql.archive import archives
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.credits import credit
from proxy.ledger.postgresql.listing import last_used, listed
from proxy.ledger.postgresql.months import PostgresMonths
from proxy.ledger.postgresql.read_only import Connections, OneState
from proxy.ledger.postgresql.schema import schema_version
from proxy.ledger.postgresql.texts import clean
from proxy.ledger.postgresql.verify import verify_step
from proxy.ledger.postgresql.verify_shares import shares_of_chains
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
from proxy.ledger.signing import public_key_beside
from proxy.ledger.verification import VerifyStep

_EVER_MS: Final = 2**63 - 1
_ENTRIES: Final = f"SELECT {', '.join(COLUMNS)} FROM book WHERE {{}} = %s ORDER BY seq"
_REFUSALS: Final = """
SELECT key_id, code, sum(count), min(bucket_ms), max(bucket_ms), team, limit_id FROM refusals
WHERE bucket_ms >= %s AND bucket_ms < %s GROUP BY 1, 2, 6, 7
ORDER BY 3 DESC, 1 NULLS FIRST, 2, 6 NULLS FIRST, 7 NULLS FIRST"""
_CREDITS: Final = f"""
SELECT {", ".join(Credit.__struct_fields__)} FROM grants
WHERE (%(limit_id)s::text IS NULL OR limit_id = %(limit_id)s) AND
  (%(after)s::text IS NULL OR seq < (SELECT seq FROM grants WHERE id = %(after)s))
ORDER BY seq DESC LIMIT %(most)s"""
_AUDIT: Final = f"SELECT {', '.join(audit_chain.COLUMNS)} FROM audit"
_SOURCES: Final = """
SELECT upstream, source, count(*) FROM ({rows}) AS latest
WHERE kind = 'usage' AND started_at_ms >= %(from_ms)s GROUP BY 1, 2"""
_ANSWERS: Final = """
SELECT upstream_request_id, key_id, team, upstream, model_requested,
  coalesce(input_tokens, 0) + coalesce(output_tokens, 0),
  CASE WHEN (finish_reason IN ('queued', 'in_progress') OR reason = 'later')
    AND NOT EXISTS (SELECT 1 FROM records AS later WHERE later.adjusts = latest.id)
    THEN id END, dialect
FROM ({rows}) AS latest
WHERE kind = 'usage' AND upstream_request_id IS NOT NULL AND model_requested IS NOT NULL
  AND status BETWEEN 200 AND 299 AND strpos(endpoint, '{{id}}') = 0
  AND (dialect = ANY(%(dialects)s::text[]) OR reason = 'later')
ORDER BY seq"""
_MADE: Final = """
SELECT upstream, team, key_id, upstream_request_id FROM ({rows}) AS latest
WHERE dialect = %(dialect)s AND upstream_request_id IS NOT NULL ORDER BY seq DESC LIMIT %(most)s"""
_TERMS_AT: Final = """
SELECT terms FROM price_versions
ORDER BY stored_at_ms > %(at_ms)s, abs(stored_at_ms - %(at_ms)s), version LIMIT 1"""
_STATUS: Final = """
SELECT (SELECT min(seq - rows) + 1 FROM heads), (SELECT max(seq) FROM heads),
  (SELECT count(*) FROM book WHERE adjusts IS NOT NULL),
  (SELECT sum(pg_total_relation_size(oid)) FROM pg_class
   WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'm'))"""
_LAST: Final = "SELECT hash, booked_at_ms FROM heads ORDER BY seq DESC LIMIT 1"


class PostgresReader:
    """See `proxy.ledger.reading.Reader`. Any number of threads may ask it at once."""

    def __init__(self, url: str, state: OneState | None = None) -> None:
        """`state`: of this one state of the book alone, for one thread at a time."""
        self._connections = Connections(url, name(url)) if state is None else state

    @property
    def name(self) -> str:
        """See `Reader.name`."""
        return self._connections.name

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
        names = ALL_SUMS if sums is None else sums
        with self._connections.reading() as connection:
            return usage.grouped(
                connection, grouping.Ask(by, from_ms, to_ms, zone, names, team, through, key)
            )

    def record(self, id: str) -> Entry | None:
        """See `Reader.record`."""
        found = self._entries("id", id)
        return found[0] if found else None

    def adjustments(self, id: str) -> list[Entry]:
        """See `Reader.adjustments`."""
        return self._entries("adjusts", id)

    def refusals(self, from_ms: int | None, to_ms: int | None) -> list[RefusalSum]:
        """See `Reader.refusals`."""
        bounds = (0 if from_ms is None else from_ms, _EVER_MS if to_ms is None else to_ms)
        rows = self._rows(_REFUSALS, bounds)
        return [RefusalSum(key, code, int(count), *rest) for key, code, count, *rest in rows]

    def credits(self, limit_id: str | None, after: str | None, most: int) -> list[Credit]:
        """See `Reader.credits`."""
        asked = {
            "limit_id": None if limit_id is None else clean(limit_id),
            "after": None if after is None else clean(after),
            "most": most,
        }
        with self._connections.reading() as connection:
            known = "SELECT 1 FROM grants WHERE id = %(after)s"
            if after is not None and connection.execute(known, asked).fetchone() is None:
                raise QuestionRefused("after is the id of a credit, as the page before gave it")
            return [credit(row) for row in _fetched(connection, _CREDITS, asked)]

    def tenants(self) -> list[Managed]:
        """See `Reader.tenants`."""
        rows = self._rows("SELECT doc FROM tenants ORDER BY kind, name")
        return [msgspec.json.decode(doc, type=Managed) for (doc,) in rows]

    def audit(self, after: int, most: int) -> list[AuditEntry]:
        """See `Reader.audit`."""
        rows = self._rows(f"{_AUDIT} WHERE seq > %s ORDER BY seq LIMIT %s", (after, most))
        return [
            AuditEntry(row[0], Audit(**dict(zip(audit_chain.DEED_COLUMNS, row[1:-4], strict=True))))
            for row in rows
        ]

    def audit_head(self) -> int:
        """See `Reader.audit_head`."""
        [(last,)] = self._rows("SELECT coalesce(max(seq), 0) FROM audit")
        return int(last)

    def audit_problems(self, key_file: Path) -> list[str]:
        """See `Reader.audit_problems`."""
        rows = self._rows(f"{_AUDIT} ORDER BY seq")
        return list(audit_chain.problems(rows, read_key(key_file)))

    def verify_shares(self, part: str, count: int, key_file: Path | None) -> Sequence[str | None]:
        """See `Reader.verify_shares`."""
        if part != "records":
            return [None]
        key = None if key_file is None or not key_file.exists() else read_key(key_file)
        with self._connections.reading() as connection:
            return shares_of_chains(connection, count, key)

    def anchor(self) -> Anchor:
        """See `BookReader.anchor`."""
        with self._connections.reading() as connection:
            return take_anchor(connection, self.name)

    def proof(self, id: str) -> RecordProof | None:
        """See `BookReader.proof`."""
        with self._connections.reading() as connection:
            return prove(PostgresMonths(connection), id)

    @contextmanager
    def months(self) -> Iterator[PostgresMonths]:
        """The sealed months, in one transaction. Raises LedgerError and LedgerUnavailable."""
        with self._connections.reading() as connection:
            yield PostgresMonths(connection)

    def archives(self) -> list[Archive]:
        """See `BookReader.archives`."""
        with self._connections.reading() as connection:
            return archives(connection)

    def has_signatures(self) -> bool:
        """See `Reader.has_signatures`."""
        with self.months() as book:
            sealed = book.month_before(None) is not None
        return sealed or bool(self.closings())

    def closings(self) -> list[Closing]:
        """See `BookReader.closings`."""
        with self._connections.reading() as connection:
            return closings.listed(connection)

    def closed_statement(self, number: int) -> ClosedStatement | None:
        """See `BookReader.closed_statement`."""
        with self._connections.reading() as connection:
            return closings.one(connection, number)

    def verify_step(self, part: str, place: str | None, key_file: Path | None) -> VerifyStep:
        """See `BookReader.verify_step`."""
        key = None if key_file is None or not key_file.exists() else read_key(key_file)
        signs = part in ("months", closed.PART)
        public_key = public_key_beside(key_file) if signs else None
        with self._connections.reading() as connection:
            return verify_step(connection, part, place, key, public_key)

    def last_used_ms(self, keys: Sequence[str] | None = None) -> dict[str, int]:
        """See `Reader.last_used_ms`."""
        if keys is not None:
            with self._connections.reading() as connection:
                return last_used(connection, keys)
        return dict(self._rows("SELECT key_id, max(bucket_ms) FROM rollups GROUP BY 1"))

    def listed(self, choice: RowChoice, before: int | None = None, most: int = 50) -> Listing:
        """See `Reader.listed`."""
        with self._connections.reading() as connection:
            return listed(connection, choice, before, most)

    def sources(self, from_ms: int, records_max: int) -> dict[tuple[str, str], int]:
        """See `Reader.sources`."""
        rows = self._latest(_SOURCES, records_max, from_ms=from_ms)
        return {(upstream, source): count for upstream, source, count in rows}

    def served_models(self) -> list[tuple[str, str, str]]:
        """See `Reader.served_models`."""
        return self._rows("SELECT upstream, model_requested, model_served FROM served_models")

    def answers(self, dialects: Sequence[str], records_max: int) -> list[KeptAnswer]:
        """See `Reader.answers`."""
        rows = self._latest(_ANSWERS, records_max, dialects=list(dialects))
        return [KeptAnswer(*row) for row in rows]

    def made_objects(
        self, dialect: str, records_max: int, objects_max: int
    ) -> list[tuple[str, str | None, str, str]]:
        """See `Reader.made_objects`."""
        return self._latest(_MADE, records_max, dialect=dialect, most=objects_max)[::-1]

    def price_terms(self, version: str) -> bytes | None:
        """See `Reader.price_terms`."""
        rows = self._rows("SELECT terms FROM price_versions WHERE version = %s", (clean(version),))
        return bytes(rows[0][0]) if rows else None

    def price_terms_at(self, at_ms: int) -> bytes | None:
        """See `Reader.price_terms_at`."""
        rows = self._rows(_TERMS_AT, {"at_ms": at_ms})
        return bytes(rows[0][0]) if rows else None

    def status(self) -> Status:
        """See `Reader.status`."""
        with self._connections.reading() as connection:
            version = schema_version(connection, self.name)
            [(first_seq, last_seq, adjustments, size)] = connection.execute(_STATUS).fetchall()
            last = connection.execute(_LAST).fetchone()
            positions = connection.execute(
                "SELECT writer, seq FROM journal_positions ORDER BY writer"
            )
            writers = {writer: int(seq) for writer, seq in positions}
        return Status(
            path=self.name,
            schema_version=version,
            bytes=int(size),
            records=0 if last_seq is None else last_seq - first_seq + 1,
            adjustments=adjustments,
            first_seq=first_seq,
            last_seq=last_seq,
            last_hash=None if last is None else last[0].hex(),
            last_booked_at_ms=None if last is None else last[1],
            sealed_seq=last_seq,
            writers=writers,
        )

    def recent(self, since_ms: int, now_ms: int) -> list[Recent]:
        """See `Reader.recent`."""
        with self._connections.reading() as connection:
            return recent.recent(connection, since_ms, now_ms)

    def used_by_value(self, tag: str | None, since_ms: int) -> list[ValueUse]:
        """See `Reader.used_by_value`."""
        with self._connections.reading() as connection:
            return recent.used_by_value(connection, tag, since_ms)

    def head(self) -> int:
        """See `Reader.head`."""
        with self._connections.reading() as connection:
            return pages.head(connection)

    def narrowed(self, stretch: Stretch) -> Stretch:
        """See `Reader.narrowed`."""
        with self._connections.reading() as connection:
            return pages.narrowed(connection, stretch)

    def pages(
        self, stretch: Stretch, page_seqs: int = PAGE_SEQS, *, corrected: bool = False
    ) -> Generator[Page, None, None]:
        """See `Reader.pages`."""
        for first in range(stretch.after, stretch.through, page_seqs):
            upto = min(stretch.through, first + page_seqs)
            part = msgspec.structs.replace(stretch, after=first, through=upto)
            with self._connections.reading() as connection:
                rows = pages.page(connection, part)
                corrections = (
                    pages.corrections(connection, [row[0] for row in rows]) if corrected else ()
                )
            yield Page(upto, rows, corrections)

    def by_tariff(
        self, stretch: Stretch, known: Sequence[Tariff]
    ) -> Generator[TariffPage, None, None]:
        """See `Reader.by_tariff`."""
        yield from tariffs.paged(self._connections, stretch, known)

    def label_names(self, stretch: Stretch) -> list[str]:
        """See `Reader.label_names`."""
        found: set[str] = set()
        for first in range(stretch.after, stretch.through, pages.LABEL_SEQS):
            upto = min(stretch.through, first + pages.LABEL_SEQS)
            part = msgspec.structs.replace(stretch, after=first, through=upto)
            with self._connections.reading() as connection:
                found |= pages.labels(connection, part)
        return sorted(
            {name for text in found for name in msgspec.json.decode(text, type=dict[str, str])}
        )

    def _entries(self, column: str, id: str) -> list[Entry]:
        return entries(self._rows(_ENTRIES.format(column), (clean(id),)))

    def _latest(self, query: str, records_max: int, **values: object) -> list[Any]:
        """The answer to a query over the latest records."""
        with self._connections.reading() as connection:
            through = pages.head(connection)
            rows, bounds = pages.in_book(connection, max(0, through - records_max), through)
            asked = query.format(rows=rows)
            return connection.execute(asked.encode(), bounds | values).fetchall()

    def _rows(self, query: str, values: Any = None) -> list[Any]:
        with self._connections.reading() as connection:
            return _fetched(connection, query, values)


def _fetched(connection: Connection, query: str, values: Any) -> list[Any]:
    return connection.execute(query.encode(), values).fetchall()

"""Verifies the book in the file, a step at a time: chains, seals, roll-ups, prices and indexes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from proxy.core.records.chain import FINDINGS_MAX, ChainPlace, ChainWalk, Flaw
from proxy.ledger.months import MonthBook, chunk_behind, months_step
from proxy.ledger.sealing_key import read_key
from proxy.ledger.signing import public_key_beside
from proxy.ledger.sqlite import tenants as managed
from proxy.ledger.sqlite.anchoring import anchor_step
from proxy.ledger.sqlite.archive import flaws as archive_flaws
from proxy.ledger.sqlite.closings import STATEMENTS_SINCE, statements_step
from proxy.ledger.sqlite.credits import CREDIT_CHAIN_SINCE, credits_step
from proxy.ledger.sqlite.months import MONTHS_SINCE, SqliteMonths
from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.sqlite.row_texts import exactly, links_of
from proxy.ledger.sqlite.schema import schema_version
from proxy.ledger.sqlite.spans import KEYLESS_SINCE_VERSION
from proxy.ledger.sqlite.sums import FAMILIES
from proxy.ledger.sqlite.verify_prices import prices_step
from proxy.ledger.sqlite.verify_sums import SUMS_SINCE, rollups_step, wide_step
from proxy.ledger.verification import VerifyStep
from proxy.ledger.verifying import Verified, walked

STEP_ROWS: Final = 4096  # some 20 ms of reading
NEWEST_ROWS: Final = 1024  # at least so many of the newest records are looked at, at a start
PRICES_SINCE, AUDIT_SINCE = 2, 9  # schema versions
_CORRUPT: Final = 11  # SQLite's code of a damaged page; the higher bits say which kind

_HEADS = (
    "SELECT seq, hash, booked_at_ms, key_name, seal FROM heads WHERE seq > ? AND seq <= ? "
    "ORDER BY seq"
)
# Late records began long ago. The latest quarter hours are those that count on.
_SINCE = (
    "SELECT max(started_at_ms) - 3600000 FROM "
    "(SELECT started_at_ms FROM records ORDER BY seq DESC LIMIT ?)"
)
_CHECKPOINT = (
    "SELECT seq, hash, pruned_at_ms, key_name, seal FROM checkpoints ORDER BY seq DESC LIMIT 1"
)
_LAST = """
SELECT max(seq) FROM
  (SELECT max(seq) AS seq FROM records UNION ALL SELECT max(seq) FROM heads)"""


def verify_chain(path: Path, key: bytes | None) -> Verified:
    """Check all records in the file, in constant memory.

    Raises LedgerError without a ledger, LedgerUnavailable when SQLite cannot read it.
    """

    def step(place: str | None) -> VerifyStep:
        with reading(path) as connection:
            return records_step(connection, place, key)

    return walked(step)


def verify_step(path: Path, part: str, place: str | None, key_file: Path | None) -> VerifyStep:
    """See `BookReader.verify_step`."""
    key = None if key_file is None or not key_file.exists() else read_key(key_file)
    with reading(path) as connection:
        connection.text_factory = _text
        try:
            version = schema_version(connection, str(path))
            signs = part in ("months", "statements")
            public_key = public_key_beside(key_file) if signs else None
            return _step(connection, version, part, place, key, public_key)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != _CORRUPT:
                raise
            damaged = Flaw(part, f"{part}: the file is damaged here: {error}")
            return VerifyStep(found=1, findings=[damaged])


def _step(
    connection: sqlite3.Connection,
    version: int,
    part: str,
    place: str | None,
    key: bytes | None,
    public_key: bytes | None,
) -> VerifyStep:
    match part:
        case "anchor":
            return anchor_step(connection, version, place or "", key)
        case "newest":
            return _newest_step(connection, version, key)
        case "records":
            book = SqliteMonths(connection) if version >= MONTHS_SINCE else None
            return records_step(connection, place, key, book=book)
        case "credits" if version >= CREDIT_CHAIN_SINCE:
            return credits_step(connection, key)
        case "audit" if version >= AUDIT_SINCE:
            return _audit_step(connection, key)
        case "prices" if version >= PRICES_SINCE:
            return prices_step(connection, version, place)
        case "months" if version >= MONTHS_SINCE:
            return _months_step(connection, place, key, public_key)
        case "statements" if version >= STATEMENTS_SINCE:
            return statements_step(connection, place, public_key)
        case "rollups" if version >= SUMS_SINCE:
            return rollups_step(connection, place)
        case "wide" if version >= SUMS_SINCE:
            has_keyless = version >= KEYLESS_SINCE_VERSION
            return wide_step(connection, place, FAMILIES if has_keyless else FAMILIES[:1])
        case "indexes":
            return _indexes_step(connection, place)
        case _:
            note = (
                f"{part}: not checked, as the ledger has schema version {version}; "
                "the next start of `tollkeeper serve` brings it to the present one"
            )
            return VerifyStep(notes=[note])


def records_step(
    connection: sqlite3.Connection,
    place: str | None,
    key: bytes | None,
    *,
    newest: int | None = None,
    book: MonthBook | None = None,
) -> VerifyStep:
    """The next records with their seals, in the transaction that is open.

    newest · begin so many rows before the end, behind a row that is taken as it stands
    book · has the sealed months, whose chunks are held against the same reading
    """
    connection.text_factory = _text
    if place is not None:
        walk = ChainWalk(msgspec.json.decode(place, type=ChainPlace), key)
    else:
        walk = begun(connection, key, newest)
    at = walk.place
    chunk = None if book is None else chunk_behind(book, at.seq)
    most = STEP_ROWS if chunk is None else min(STEP_ROWS, chunk.upto - at.seq)
    links = links_of(connection, at.seq, at.through, most)
    upto = links[-1][0] if len(links) == most else at.through
    heads = connection.execute(_HEADS, (at.seq, upto)).fetchall()
    walk.page(links, heads, lambda seq: exactly(connection, seq))
    ended = upto >= at.through
    if ended:
        walk.end()
    return VerifyStep(
        rows=walk.rows,
        seals=walk.seals,
        foreign=walk.foreign,
        found=walk.found,
        findings=walk.findings,
        next=None if ended else msgspec.json.encode(walk.place).decode(),
        chunks=int(chunk is not None and chunk.is_of([link[1] for link in links], upto)),
    )


def _newest_step(connection: sqlite3.Connection, version: int, key: bytes | None) -> VerifyStep:
    """The newest sealed batches, and the roll-ups of the quarter hours that they began in."""
    records = records_step(connection, None, key, newest=NEWEST_ROWS)
    if version < SUMS_SINCE:
        return records
    (since_ms,) = connection.execute(_SINCE, (NEWEST_ROWS,)).fetchone()
    sums = rollups_step(connection, None, since_ms=since_ms)
    return VerifyStep(
        rows=records.rows,
        seals=records.seals,
        foreign=records.foreign,
        found=records.found + sums.found,
        findings=[*records.findings, *sums.findings][:FINDINGS_MAX],
    )


def begun(connection: sqlite3.Connection, key: bytes | None, newest: int | None) -> ChainWalk:
    """A walk at the first row, behind the last checkpoint if a prefix was pruned."""
    through = connection.execute(_LAST).fetchone()[0] or 0
    checkpoint = connection.execute(_CHECKPOINT).fetchone()
    if newest is not None:
        before = connection.execute(
            "SELECT seq, hash FROM heads WHERE seq <= ? ORDER BY seq DESC LIMIT 1",
            (through - newest,),
        ).fetchone()
        if before is not None and (checkpoint is None or before[0] > checkpoint[0]):
            return ChainWalk(ChainPlace(through, before[0], before[1], before[0]), key)
    if checkpoint is None:
        return ChainWalk(ChainPlace(through), key)
    seq, row_hash = checkpoint[:2]
    walk = ChainWalk(ChainPlace(max(through, seq), seq, row_hash, seq), key)
    walk.check_seal(checkpoint, "checkpoint")
    return walk


def _months_step(
    connection: sqlite3.Connection, place: str | None, key: bytes | None, public_key: bytes | None
) -> VerifyStep:
    """The next chunk of a sealed month; with the last one what is kept of archived months."""
    step = months_step(SqliteMonths(connection), place, public_key)
    if step.next is not None:
        return step
    flaws = list(archive_flaws(connection, key))
    return msgspec.structs.replace(
        step,
        found=step.found + len(flaws),
        findings=[*step.findings, *flaws][:FINDINGS_MAX],
    )


def _audit_step(connection: sqlite3.Connection, key: bytes | None) -> VerifyStep:
    """The whole audit: it has one entry for each deed of a person."""
    problems = list(managed.audit_problems(connection, key))
    (rows,) = connection.execute("SELECT count(*) FROM audit").fetchone()
    found = [Flaw("audit", problem) for problem in problems]
    return VerifyStep(rows=rows, found=len(found), findings=found[:FINDINGS_MAX])


def _indexes_step(connection: sqlite3.Connection, place: str | None) -> VerifyStep:
    """One table's pages and indexes: a row that an index does not know is found by no question."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    tables = [name for (name,) in connection.execute(query)]
    at = 0 if place is None else int(place)
    told = connection.execute(f"PRAGMA integrity_check({tables[at]})").fetchall()
    found = [Flaw("indexes", f"{tables[at]}: {line}") for (line,) in told if line != "ok"]
    following = str(at + 1) if at + 1 < len(tables) else None
    return VerifyStep(found=len(found), findings=found[:FINDINGS_MAX], next=following)


def _text(raw: bytes) -> str:
    # Text that is no longer UTF-8 is a problem to report, and no error.
    return raw.decode("utf-8", "replace")

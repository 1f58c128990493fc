"""Divides the parts of the book in a file into shares that several processes verify at once.

Each share is a place at which a walk begins, and which says where it ends. A share of the chain
begins behind a row that it takes as it stands. The share before it ends with that row.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from proxy.core.records.canonical import key_name
from proxy.core.records.chain import ChainPlace
from proxy.ledger.months import MonthBook, chunk_behind
from proxy.ledger.sealing_key import read_key
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.months import MONTHS_SINCE, SqliteMonths
from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.sqlite.schema import schema_version
from proxy.ledger.sqlite.spans import KEYLESS_SINCE_VERSION
from proxy.ledger.sqlite.sum_stretches import DAY_MS, SumsPlace
from proxy.ledger.sqlite.verify import begun
from proxy.ledger.sqlite.verify_quickly import quick_shares
from proxy.ledger.sqlite.verify_sums import SUMS_SINCE, first_of_rollups, first_of_spans
from proxy.ledger.verification import SHARED_ROWS_MIN

_OWN: Final = "SELECT EXISTS (SELECT 1 FROM heads WHERE key_name = ? AND seq > ? AND seq <= ?)"


def verify_shares(path: Path, part: str, count: int, key_file: Path | None) -> Sequence[str | None]:
    """See `Reader.verify_shares`."""
    key = None if key_file is None or not key_file.exists() else read_key(key_file)
    with reading(path) as connection:
        version = schema_version(connection, str(path))
        seqs = _seqs(connection)
        if seqs[1] - seqs[0] < SHARED_ROWS_MIN:
            return [None]
        match part:
            case "records":
                book = SqliteMonths(connection) if version >= MONTHS_SINCE else None
                return list(_of_chain(connection, book, count, key)) or [None]
            case "rollups" if version >= SUMS_SINCE:
                found = _of_time(connection, first_of_rollups(connection), BUCKET_MS, count)
                return [msgspec.json.encode(place).decode() for place in found] or [None]
            case "wide" if version >= KEYLESS_SINCE_VERSION:
                found = _of_time(connection, first_of_spans(connection), DAY_MS, count)
                return quick_shares(found) if found else [None]
            case _:
                return [None]


def _seqs(connection: sqlite3.Connection) -> tuple[int, int]:
    """The first and the last seq of the records; 0 without any."""
    query = "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM records"
    found: tuple[int, int] = connection.execute(query).fetchone()
    return found


def _of_chain(
    connection: sqlite3.Connection, book: MonthBook | None, count: int, key: bytes | None
) -> Iterator[str]:
    """Shares of the chain with about the same number of records each; none if that cannot be."""
    walk = begun(connection, key, None)
    first = walk.place
    if walk.found or walk.foreign:
        return  # a walk from the beginning tells what is wrong with the checkpoint there
    places = [first]
    for n in range(1, count):
        cut = first.seq + (first.through - first.seq) * n // count
        chunk = None if book is None else chunk_behind(book, cut)
        cut = cut if chunk is None else chunk.upto
        found = connection.execute("SELECT hash FROM records WHERE seq = ?", (cut,)).fetchone()
        if found is None or not isinstance(found[0], bytes):
            return  # the row is missing or spoilt: so is what a walk over all of them tells
        if places[-1].seq < cut < first.through:
            own = first.own or (key is not None and _has_sealed(connection, key, first.seq, cut))
            places.append(ChainPlace(first.through, cut, found[0], cut, own))
    for place, behind in itertools.pairwise(places):
        share = msgspec.structs.replace(place, through=behind.seq, goes_on=True)
        yield msgspec.json.encode(share).decode()
    yield msgspec.json.encode(places[-1]).decode()


def _has_sealed(connection: sqlite3.Connection, key: bytes, after: int, upto: int) -> bool:
    """Whether this key has sealed any of these records."""
    return bool(connection.execute(_OWN, (key_name(key), after, upto)).fetchone()[0])


def _of_time(
    connection: sqlite3.Connection, first: SumsPlace | None, unit_ms: int, count: int
) -> list[SumsPlace]:
    """Stretches of time in which about as many records began."""
    if first is None:
        return []
    low, high = _seqs(connection)
    starts = [first.from_ms]
    for n in range(1, count):
        query = "SELECT started_at_ms FROM records WHERE seq >= ? ORDER BY seq LIMIT 1"
        found = connection.execute(query, (low + (high - low) * n // count,)).fetchone()
        if found is not None and isinstance(found[0], int):
            at_ms = found[0] // unit_ms * unit_ms
            if starts[-1] < at_ms <= first.last_ms:
                starts.append(at_ms)
    ends = [*(start - 1 for start in starts[1:]), first.last_ms]
    return [SumsPlace(*of) for of in zip(starts, ends, strict=True)]

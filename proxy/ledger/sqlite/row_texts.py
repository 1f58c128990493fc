"""The canonical bytes of stored records, as they are hashed, for chains and trees."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator

from proxy.core.records.canonical import COLUMNS, HASHED_BY_VERSION
from proxy.core.records.chain import Link, row_text
from proxy.ledger import LedgerError

# SQLite makes a row's JSON array itself, in half the time that it takes to hand its values over.
# Where its bytes do not fit, the row is read again value by value. SQLite refuses JSON with a blob.
_TEXTS = " ".join(
    f"WHEN {version} THEN CAST(json_array({', '.join(hashed)}) AS BLOB)"
    for version, hashed in HASHED_BY_VERSION.items()
)
_LINKS = (
    f"SELECT seq, CASE hash_version {_TEXTS} ELSE x'' END, prev_hash, hash FROM records "
    "WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
)
_PLAIN = (
    "SELECT seq, x'', prev_hash, hash FROM records WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
)
_ROW = f"SELECT {', '.join(COLUMNS)} FROM records WHERE seq = ?"


def links_of(connection: sqlite3.Connection, after: int, through: int, most: int) -> list[Link]:
    """At most so many rows behind `after`, in their order, for a walk over the chain."""
    bounds = (after, through, most)
    try:
        return connection.execute(_LINKS, bounds).fetchall()
    except sqlite3.OperationalError as error:
        if "BLOB" not in str(error):
            raise
        return connection.execute(_PLAIN, bounds).fetchall()


def exactly(connection: sqlite3.Connection, seq: int) -> tuple[str, bytes | None]:
    """The id and the canonical bytes of one row, made value by value.

    No bytes are made for an unknown hash_version.
    """
    row = dict(zip(COLUMNS, connection.execute(_ROW, (seq,)).fetchone(), strict=True))
    return row["id"], row_text(row)


def sound_texts(connection: sqlite3.Connection, after: int, through: int) -> Iterator[bytes]:
    """The canonical bytes of each row behind `after`.

    Raises LedgerError at a row that is missing, or that was changed since it was booked.
    """
    expected = after + 1
    for seq, quick, prev_hash, row_hash in links_of(connection, after, through, through - after):
        text: bytes | None = quick
        prev = prev_hash if isinstance(prev_hash, bytes) else b""
        if hashlib.sha256(prev + quick).digest() != row_hash:
            text = exactly(connection, seq)[1]
        if seq != expected or text is None or hashlib.sha256(prev + text).digest() != row_hash:
            break
        yield text
        expected += 1
    if expected <= through:
        raise LedgerError(
            f"the record of seq {expected} is missing or was changed: "
            "`tollkeeper ledger verify` says more"
        )

"""Months of the book as Merkle trees: seals them, proves a record, verifies them.

A month's tree is over the records that were booked in it, in the order of the book, so that each
record is in one tree and no seq is between two of them. Its leaf is the record as it is hashed. The
roots of its chunks are stored too, so that a proof reads one chunk only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, tzinfo
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from proxy.core.calendar import Per, window
from proxy.core.records.chain import FINDINGS_MAX, Flaw
from proxy.core.records.checkpoints import (
    RecordProof,
    checkpoint_text,
    record_proof,
    signature_of,
    signed_note,
)
from proxy.core.records.merkle import CHUNK, leaf_hash, path_of, root_of
from proxy.ledger import LedgerError, SealedMonth
from proxy.ledger.signing import can_sign, is_signed
from proxy.ledger.sqlite.row_texts import links_of, sound_texts
from proxy.ledger.verification import VerifyStep

if TYPE_CHECKING:
    from proxy.ledger.ed25519 import MonthSigner

# Opens a read-only connection in a transaction of its own.
Reading: TypeAlias = Callable[[], AbstractContextManager[sqlite3.Connection]]

MONTHS_SINCE: Final = 13  # the schema version

MONTHS = """
CREATE TABLE months (
    seq INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    month TEXT NOT NULL UNIQUE,
    until_ms INTEGER NOT NULL,
    sealed_at_ms INTEGER NOT NULL,
    root BLOB NOT NULL,
    chunks BLOB NOT NULL,
    public_key BLOB NOT NULL,
    checkpoint TEXT NOT NULL
) STRICT;
CREATE TRIGGER months_known BEFORE INSERT ON months
    WHEN EXISTS (SELECT 1 FROM months WHERE seq = NEW.seq OR month = NEW.month)
    BEGIN SELECT RAISE(IGNORE); END;
"""

_COLUMNS = "seq, first_seq, month, until_ms, sealed_at_ms, root, chunks, public_key, checkpoint"
_INSERT = f"INSERT INTO months ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LAST = "SELECT seq, until_ms FROM months ORDER BY seq DESC LIMIT 1"
_FIRST = """
SELECT coalesce((SELECT max(seq) FROM checkpoints), (SELECT min(seq) - 1 FROM records), 0)"""
_BOOKED = "SELECT booked_at_ms FROM heads WHERE seq > ? ORDER BY seq LIMIT 1"
_NEXT = "SELECT min(seq) FROM heads WHERE seq > ? AND booked_at_ms >= ?"
_END = "SELECT max(seq) FROM heads WHERE seq < ?"
_OF_RECORD = (
    "SELECT r.seq, r.hash_version, m.seq, m.first_seq, m.month, m.root, m.chunks, m.public_key, "
    "m.checkpoint FROM records AS r LEFT JOIN months AS m ON m.seq = "
    "(SELECT min(seq) FROM months WHERE seq >= r.seq) WHERE r.id = ?"
)


class MonthRow(msgspec.Struct, frozen=True):
    """A row of the table."""

    seq: int
    first_seq: int
    month: str
    until_ms: int
    sealed_at_ms: int
    root: bytes
    chunks: bytes
    public_key: bytes
    checkpoint: str

    @property
    def told(self) -> SealedMonth:
        """What is told of it."""
        return SealedMonth(self.month, self.first_seq, self.seq, self.root.hex(), self.checkpoint)


def due_months(
    reading: Reading, zone: tzinfo, now_ms: int, signer: MonthSigner
) -> Iterator[MonthRow]:
    """The months that are over and not sealed, the oldest first, each made and signed.

    Each chunk is a short read of its own by a connection of `reading`. Raises LedgerError where a
    record was changed.
    """
    with reading() as connection:
        after, until_ms = connection.execute(_LAST).fetchone() or (
            connection.execute(_FIRST).fetchone()[0],
            None,
        )
    while (found := _next_month(reading, after, until_ms, zone, now_ms)) is not None:
        through, end_ms, month = found
        chunks = [
            _chunk_root(reading, first, min(first + CHUNK, through))
            for first in range(after, through, CHUNK)
        ]
        root = root_of(chunks)
        text = checkpoint_text(signer.public_key, month, through - after, root)
        note = signed_note(text, signer.public_key, signer.sign(text))
        stored = b"".join(chunks)
        yield MonthRow(
            through, after + 1, month, end_ms, now_ms, root, stored, signer.public_key, note
        )
        after, until_ms = through, end_ms


def add_month(connection: sqlite3.Connection, row: MonthRow) -> None:
    """Store a month; one that is sealed stays as it is. Raises sqlite3.Error."""
    connection.execute(_INSERT, msgspec.structs.astuple(row))


def prove(connection: sqlite3.Connection, id: str) -> RecordProof | None:
    """The proof of one record; None: there is no such record.

    Raises LedgerError if its month is not sealed, or is not as it was sealed.
    """
    found = connection.execute(_OF_RECORD, (id,)).fetchone()
    if found is None:
        return None
    seq, version, through, first_seq, month, root, stored, public_key, checkpoint = found
    if through is None or not first_seq <= seq <= through:
        raise LedgerError(
            f"the record {id} is in no sealed month yet: when the month in which it was booked is "
            "over, `tollkeeper ledger seal` seals it"
        )
    index = seq - first_seq
    chunk = index // CHUNK
    after = first_seq - 1 + chunk * CHUNK
    texts = [text for _, text in sound_texts(connection, after, min(after + CHUNK, through))]
    leaves = [leaf_hash(text) for text in texts]
    roots = [stored[n : n + 32] for n in range(0, len(stored), 32)]
    if root_of(leaves) != roots[chunk] or root_of(roots) != root:
        raise LedgerError(
            f"the month {month} is not as it was sealed: `tollkeeper ledger verify` says more"
        )
    inside = index % CHUNK
    return record_proof(
        id=id,
        month=month,
        leaf=texts[inside],
        index=index,
        size=through - first_seq + 1,
        path=[*path_of(leaves, inside), *path_of(roots, chunk)],
        checkpoint=checkpoint,
        public_key=public_key,
        hash_version=version,
    )


def months_step(
    connection: sqlite3.Connection, place: str | None, public_key: bytes | None
) -> VerifyStep:
    """Verify one chunk of one sealed month; with its last one the root and the signature.

    `public_key`: of the key beside the ledger; None: what the month itself names is taken.
    """
    at, chunk = (0, 0) if place is None else msgspec.json.decode(place, type=tuple[int, int])
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM months WHERE seq > ? ORDER BY seq LIMIT 1", (at,)
    ).fetchone()
    if row is None:
        return VerifyStep()
    month = MonthRow(*row)
    size = month.seq - month.first_seq + 1
    chunks = -(-size // CHUNK)
    after = month.first_seq - 1 + chunk * CHUNK
    upto = min(after + CHUNK, month.seq)
    flaws: list[Flaw] = []
    sealed = month.chunks[chunk * 32 : chunk * 32 + 32]
    links = links_of(connection, after, upto, CHUNK)
    if root_of([leaf_hash(link[2]) for link in links]) != sealed:  # look again, row by row
        try:
            root = root_of([leaf_hash(text) for _, text in sound_texts(connection, after, upto)])
            if root != sealed:
                what = f"the records {after + 1} to {upto} are not those sealed"
                flaws.append(_flaw(month, what))
        except LedgerError as error:
            flaws.append(_flaw(month, str(error)))
    # One flaw is enough: a forged month may claim any number of records.
    more = not flaws and chunk + 1 < chunks
    if not more:
        flaws += _flaws_of_head(connection, month, size, public_key)
    notes = []
    if not more and not can_sign():
        notes.append(f"months: the signature of {month.month} needs pip install 'tollkeeper[sign]'")
    following = (at, chunk + 1) if more else (month.seq, 0)
    return VerifyStep(
        rows=upto - after,
        seals=0 if more else 1,
        found=len(flaws),
        findings=flaws[:FINDINGS_MAX],
        next=msgspec.json.encode(following).decode(),
        notes=notes,
    )


def _flaws_of_head(
    connection: sqlite3.Connection, month: MonthRow, size: int, public_key: bytes | None
) -> Iterator[Flaw]:
    """What is wrong with a month beside its records."""
    roots = [month.chunks[n : n + 32] for n in range(0, len(month.chunks), 32)]
    if size < 1 or root_of(roots) != month.root or len(month.chunks) != 32 * -(-size // CHUNK):
        yield _flaw(month, "its root is not that of its records")
    ends = connection.execute(
        "SELECT first_seq, seq FROM months WHERE seq <= ? ORDER BY seq DESC LIMIT 2", (month.seq,)
    ).fetchall()
    for later, earlier in pairwise(ends):
        if later[0] != earlier[1] + 1:
            yield _flaw(
                month, f"it does not begin behind seq {earlier[1]}, where the last one ends"
            )
    text = checkpoint_text(month.public_key, month.month, size, month.root)
    try:
        said, signature = signature_of(month.checkpoint)
    except ValueError:
        said, signature = "", b""
    if said != text:
        yield _flaw(month, "its checkpoint says something else")
    elif public_key is not None and public_key != month.public_key:
        yield _flaw(month, "it was signed with another key than the one beside the ledger")
    elif can_sign() and not is_signed(text, signature, month.public_key):
        yield _flaw(month, "its signature is wrong")


def _flaw(month: MonthRow, what: str) -> Flaw:
    return Flaw("months", f"month {month.month}: {what}", month.seq)


def _next_month(
    reading: Reading, after: int, until_ms: int | None, zone: tzinfo, now_ms: int
) -> tuple[int, int, str] | None:
    """The last seq of the month behind `after`, its end and its name; None: it is not over.

    A clock that was set back opens no month again: its records count in the next one.
    """
    with reading() as connection:
        row = connection.execute(_BOOKED, (after,)).fetchone()
        if row is None:
            return None
        booked_ms = row[0] if until_ms is None else max(row[0], until_ms)
        span = window(Per.MONTH, booked_ms, zone)
        assert span.end_ms is not None, "a month ends"
        if span.end_ms > now_ms:
            return None
        (behind,) = connection.execute(_NEXT, (after, span.end_ms)).fetchone()
        end = 2**62 if behind is None else behind
        (through,) = connection.execute(_END, (end,)).fetchone()
    start = datetime.fromtimestamp(booked_ms // 1000, zone)
    return through, span.end_ms, f"{start.year:04d}-{start.month:02d}"


def _chunk_root(reading: Reading, after: int, upto: int) -> bytes:
    with reading() as connection:
        return root_of([leaf_hash(text) for _, text in sound_texts(connection, after, upto)])

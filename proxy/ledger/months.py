"""Months of the book as Merkle trees: seals them, proves a record, verifies them.

A month's tree is over the records that were booked in it, in the order of the book, so that each
record is in one tree and no seq is between two of them. With several writers that is the order of
their commits. Its leaf is the record as it is hashed. The roots of its chunks are stored too, so
that a proof reads one chunk only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Protocol, TypeAlias

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
from proxy.ledger.verification import VerifyStep

if TYPE_CHECKING:
    from proxy.ledger.ed25519 import MonthSigner


class MonthRow(msgspec.Struct, frozen=True):
    """A row of the table of months, in the order of its columns."""

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


MONTH_COLUMNS = MonthRow.__struct_fields__


class MonthBook(Protocol):
    """What months need of one database, in one transaction."""

    def begin(self) -> int:
        """The seq behind which the book begins."""
        ...

    def archived(self) -> int:
        """The last seq whose records were taken out of the book; 0: there is none."""
        ...

    def month_before(self, seq: int | None) -> MonthRow | None:
        """The last month that ends before that seq; None: the last of all."""
        ...

    def month_behind(self, seq: int) -> MonthRow | None:
        """The first month that ends behind that seq."""
        ...

    def booked_behind(self, seq: int, now_ms: int) -> int | None:
        """When the first batch that ends behind that seq was booked, in Unix ms.

        One whose time is yet to come is passed over: the clock was ahead.
        """
        ...

    def last_before(self, seq: int, ms: int, now_ms: int) -> int:
        """The end of the last batch behind that seq that was booked before a time.

        It comes before all that were booked since then, but for those whose time is yet to come.
        """
        ...

    def placed(self, id: str) -> tuple[int, int] | None:
        """The seq of a record, and the version of its hash."""
        ...

    def leaves(self, after: int, through: int) -> list[bytes]:
        """The records behind `after` as they are hashed, whether or not they are sound."""
        ...

    def sound_leaves(self, after: int, through: int) -> list[bytes]:
        """The same. Raises LedgerError where one is missing, or was changed since it was booked."""
        ...


class SealedChunk(msgspec.Struct, frozen=True):
    """A part of a sealed month, from some record up to the end of its chunk.

    upto · its last seq    size · how many records it has
    root · of its tree, as it was sealed; None where it begins inside of its chunk
    """

    upto: int
    size: int
    root: bytes | None

    def is_of(self, leaves: Sequence[bytes], upto: int) -> bool:
        """Whether it has just these records, as they are hashed, the last of them at `upto`."""
        return (
            self.root is not None
            and (self.upto, self.size) == (upto, len(leaves))
            and root_of(list(map(leaf_hash, leaves))) == self.root
        )


# Opens a transaction of its own, which only reads.
Reading: TypeAlias = Callable[[], AbstractContextManager[MonthBook]]


def due_months(
    reading: Reading, zone: tzinfo, now_ms: int, signer: MonthSigner
) -> Iterator[MonthRow]:
    """The months that are over and not sealed, the oldest first, each made and signed.

    Each chunk is a short read of its own. Raises LedgerError where a record was changed.
    """
    with reading() as book:
        last = book.month_before(None)
        after, until_ms = (book.begin(), None) if last is None else (last.seq, last.until_ms)
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


def prove(book: MonthBook, id: str) -> RecordProof | None:
    """The proof of one record; None: there is no such record.

    Raises LedgerError if its month is not sealed, or is not as it was sealed.
    """
    placed = book.placed(id)
    if placed is None:
        return None
    seq, version = placed
    month = book.month_behind(seq - 1)
    if month is None or not month.first_seq <= seq <= month.seq:
        raise LedgerError(
            f"the record {id} is in no sealed month yet: when the month in which it was booked is "
            "over, `tollkeeper ledger seal` seals it"
        )
    index = seq - month.first_seq
    chunk = index // CHUNK
    after = month.first_seq - 1 + chunk * CHUNK
    texts = book.sound_leaves(after, min(after + CHUNK, month.seq))
    leaves = [leaf_hash(text) for text in texts]
    roots = _roots(month)
    if root_of(leaves) != roots[chunk] or root_of(roots) != month.root:
        raise LedgerError(
            f"the month {month.month} is not as it was sealed: `tollkeeper ledger verify` says more"
        )
    inside = index % CHUNK
    return record_proof(
        id=id,
        month=month.month,
        leaf=texts[inside],
        index=index,
        size=month.seq - month.first_seq + 1,
        path=[*path_of(leaves, inside), *path_of(roots, chunk)],
        checkpoint=month.checkpoint,
        public_key=month.public_key,
        hash_version=version,
    )


def chunk_behind(book: MonthBook, after: int) -> SealedChunk | None:
    """The chunk that has the record behind `after`; None: no sealed month has it."""
    month = book.month_behind(after)
    if month is None or after + 1 < month.first_seq:
        return None
    chunk, inside = divmod(after + 1 - month.first_seq, CHUNK)
    upto = min(after + CHUNK - inside, month.seq)
    root = None if inside else month.chunks[chunk * 32 : chunk * 32 + 32]
    return SealedChunk(upto, upto - after, root)


def months_step(book: MonthBook, place: str | None, public_key: bytes | None) -> VerifyStep:
    """Verify one chunk of one sealed month; with its last one the root and the signature.

    From the place MONTH_HEADS on, chunks are left out, and counted alone.

    `public_key`: of the key beside the ledger; None: what the month itself names is taken.
    """
    at, chunk = (0, 0) if place is None else msgspec.json.decode(place, type=tuple[int, int])
    month = book.month_behind(at)
    if month is None:
        return VerifyStep()
    size = month.seq - month.first_seq + 1
    chunks = -(-size // CHUNK)
    if chunk < 0:
        return _head_step(book, month, size, public_key)
    after = month.first_seq - 1 + chunk * CHUNK
    upto = min(after + CHUNK, month.seq)
    flaws: list[Flaw] = []
    sealed = month.chunks[chunk * 32 : chunk * 32 + 32]
    archived = upto <= book.archived()
    leaves = [] if archived else book.leaves(after, upto)
    # Where they differ, look again, row by row.
    if not archived and root_of(list(map(leaf_hash, leaves))) != sealed:
        try:
            if root_of(list(map(leaf_hash, book.sound_leaves(after, upto)))) != sealed:
                what = f"the records {after + 1} to {upto} are not those sealed"
                flaws.append(_flaw(month, what))
        except LedgerError as error:
            flaws.append(_flaw(month, str(error)))
    # One flaw is enough: a forged month may claim any number of records.
    more = not flaws and chunk + 1 < chunks
    if not more:
        flaws += _flaws_of_head(month, size, book.month_before(month.seq), public_key)
    following = (at, chunk + 1) if more else (month.seq, 0)
    return VerifyStep(
        rows=0 if archived else upto - after,
        seals=0 if more else 1,
        found=len(flaws),
        findings=flaws[:FINDINGS_MAX],
        next=msgspec.json.encode(following).decode(),
        notes=[] if more else _notes(month),
    )


def _head_step(book: MonthBook, month: MonthRow, size: int, public_key: bytes | None) -> VerifyStep:
    """A month without its chunks, which the walk over the records has seen."""
    flaws = list(_flaws_of_head(month, size, book.month_before(month.seq), public_key))
    archived = month.seq <= book.archived()
    return VerifyStep(
        rows=0 if archived else size,
        seals=1,
        found=len(flaws),
        findings=flaws[:FINDINGS_MAX],
        next=msgspec.json.encode((month.seq, -1)).decode(),
        notes=_notes(month),
        chunks=0 if archived else -(-size // CHUNK),
    )


def _notes(month: MonthRow) -> list[str]:
    if can_sign():
        return []
    return [f"months: the signature of {month.month} needs pip install 'tollkeeper[sign]'"]


def _flaws_of_head(
    month: MonthRow, size: int, before: MonthRow | None, public_key: bytes | None
) -> Iterator[Flaw]:
    """What is wrong with a month beside its records. `before` is the month before it."""
    if (
        size < 1
        or root_of(_roots(month)) != month.root
        or len(month.chunks) != 32 * -(-size // CHUNK)
    ):
        yield _flaw(month, "its root is not that of its records")
    ended = 0 if before is None else before.seq
    if month.first_seq != ended + 1:
        yield _flaw(month, f"it does not begin behind seq {ended}, where the last one ends")
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


def _roots(month: MonthRow) -> list[bytes]:
    return [month.chunks[n : n + 32] for n in range(0, len(month.chunks), 32)]


def _flaw(month: MonthRow, what: str) -> Flaw:
    return Flaw("months", f"month {month.month}: {what}", month.seq)


def _next_month(
    reading: Reading, after: int, until_ms: int | None, zone: tzinfo, now_ms: int
) -> tuple[int, int, str] | None:
    """The last seq of the month behind `after`, its end and its name; None: it is not over.

    A clock that was set back opens no month again: its records count in the next one. What was
    booked while it was ahead, beyond today, counts where it stands.
    """
    with reading() as book:
        first_ms = book.booked_behind(after, now_ms)
        if first_ms is None:
            return None
        booked_ms = first_ms if until_ms is None else max(first_ms, until_ms)
        span = window(Per.MONTH, booked_ms, zone)
        assert span.end_ms is not None, "a month ends"
        if span.end_ms > now_ms:
            return None
        through = book.last_before(after, span.end_ms, now_ms)
    start = datetime.fromtimestamp(booked_ms // 1000, zone)
    return through, span.end_ms, f"{start.year:04d}-{start.month:02d}"


def _chunk_root(reading: Reading, after: int, upto: int) -> bytes:
    with reading() as book:
        return root_of(list(map(leaf_hash, book.sound_leaves(after, upto))))

"""Archives one sealed month: writes its file, reads it back, and says what is to leave the book.

The file is made again the same, byte for byte, so that a job that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.accounting.archiving.note import ArchiveNote, file_name, note_name
from proxy.accounting.archiving.tally import MonthTally
from proxy.core.records.checkpoints import checkpoint_text, signature_of
from proxy.ledger import LedgerError, SealedMonth, backend_of
from proxy.ledger.archives import ArchiveOrder, DueMonth
from proxy.ledger.reading import BookReader, Stretch
from proxy.ledger.signing import is_signed
from proxy.system.drafts import draft_of, write_whole

_READ_BYTES: Final = 1024 * 1024
_PAGE_SEQS: Final = 2048  # 16 MB in memory; of a page of 256, PostgreSQL plans longer than it reads

Told = Callable[[int], None]  # of so many records more that were written or read back


class ParquetMissing(LedgerError):
    """The library that reads and writes the files is not installed; the message says how."""


def due_months(
    url: str, data_dir: Path, before: str, now_ms: int, forced: Sequence[str] = ()
) -> list[DueMonth]:
    """The sealed months before that one which are in the book, the oldest first.

    Raises LedgerError where the ledger cannot be used, LedgerUnavailable.
    """
    module = backend_of(url, "due_months_of")
    found: list[DueMonth] = module.due_months_of(url, data_dir, before, now_ms, forced)
    return found


def write_month(reader: BookReader, due: DueMonth, directory: Path, told: Told) -> ArchiveNote:
    """Write the month's file and its note into the directory, and check what was written.

    Raises LedgerError where the records, or a file that is there already, are not those sealed.
    """
    month = due.month
    writer = _library("proxy.accounting.export.parquet").Parquet()
    path = directory / file_name(month.month)
    tally = MonthTally(month.first_seq, due.chains)
    try:
        with draft_of(path) as draft:
            with draft.open("wb") as file:
                file.write(writer.begin())
                stretch = Stretch(after=month.first_seq - 1, through=month.last_seq)
                for page in reader.pages(stretch, _PAGE_SEQS):
                    for row in page.rows:
                        tally.add(row)
                    file.write(writer.lines(page.rows))
                    told(len(page.rows))
                file.write(writer.end())
                file.flush()
                os.fsync(file.fileno())
            _check(tally, month, due.public_key)
            note = _note(tally, due, draft, path.name)
            _read_back(draft, note, told)
            _named(draft, path, note)
    except OSError as error:
        raise LedgerError(f"cannot write {path}: {error.strerror or error}") from error
    return note


def order_of(note: ArchiveNote, forced: Sequence[str] = ()) -> ArchiveOrder:
    """What the ledger is told to take out of the book, once the note's file is on the disk."""
    return ArchiveOrder(
        month=note.month,
        first_seq=note.first_seq,
        last_seq=note.last_seq,
        root=note.root,
        file=note.file,
        bytes=note.bytes,
        sha256=note.sha256,
        totals=note.totals,
        forced=tuple(forced),
    )


def check_archive(directory: Path, month: str, told: Told = lambda _rows: None) -> ArchiveNote:
    """Read a file and its note, and hold the one against the other; the note.

    Raises LedgerError with what is wrong.
    """
    path = directory / note_name(month)
    try:
        note = msgspec.json.decode(path.read_bytes(), type=ArchiveNote)
    except (OSError, msgspec.MsgspecError) as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error
    file = directory / note.file
    try:
        digest, size = _digest(file)
    except OSError as error:
        raise LedgerError(f"{file} cannot be read: {error.strerror}") from error
    if (digest, size) != (note.sha256, note.bytes):
        raise LedgerError(f"{file} is not the file that its note names")
    _read_back(file, note, told)
    root = bytes.fromhex(note.root)
    text = checkpoint_text(
        bytes.fromhex(note.public_key), note.month, note.last_seq - note.first_seq + 1, root
    )
    _check_signature(text, note.checkpoint, bytes.fromhex(note.public_key))
    return note


def _check(tally: MonthTally, month: SealedMonth, public_key: bytes) -> None:
    if tally.last_seq != month.last_seq or tally.root().hex() != month.root:
        raise LedgerError(
            f"the records of {month.month} are not those sealed: `tollkeeper ledger verify`"
        )
    size = month.last_seq - month.first_seq + 1
    text = checkpoint_text(public_key, month.month, size, bytes.fromhex(month.root))
    _check_signature(text, month.checkpoint, public_key)


def _check_signature(text: str, checkpoint: str, public_key: bytes) -> None:
    try:
        said, signature = signature_of(checkpoint)
    except ValueError as error:
        raise LedgerError(f"the checkpoint cannot be read: {error}") from error
    if said != text or not is_signed(text, signature, public_key):
        raise LedgerError("the month's checkpoint says something else, or its signature is wrong")


def _note(tally: MonthTally, due: DueMonth, draft: Path, name: str) -> ArchiveNote:
    month = due.month
    assert tally.first_prev_hash is not None and tally.last_hash is not None, "it has records"
    digest, size = _digest(draft)
    return ArchiveNote(
        month=month.month,
        first_seq=month.first_seq,
        last_seq=month.last_seq,
        prev_hash=tally.first_prev_hash.hex(),
        hash=tally.last_hash.hex(),
        root=month.root,
        checkpoint=month.checkpoint,
        public_key=due.public_key.hex(),
        file=name,
        bytes=size,
        sha256=digest,
        totals=tally.totals(),
        chains=list(due.chains),
    )


def _read_back(path: Path, note: ArchiveNote, told: Told) -> None:
    """Read the file again and hold it against the note. Raises LedgerError."""
    tally = MonthTally(note.first_seq, note.chains)
    for row in _library("proxy.accounting.archiving.parquet_file").rows_of(path):
        tally.add(row)
        told(1)
    found = (
        tally.last_seq,
        tally.root().hex(),
        (tally.first_prev_hash or b"").hex(),
        (tally.last_hash or b"").hex(),
        tally.totals(),
    )
    if found != (note.last_seq, note.root, note.prev_hash, note.hash, note.totals):
        raise LedgerError(f"{path} has other records than its note says")


def _named(draft: Path, path: Path, note: ArchiveNote) -> None:
    """Give the file and its note their names, durably; the same file may be there already."""
    if path.exists() and _digest(path) != (note.sha256, note.bytes):
        raise LedgerError(f"{path} is there already, and is another file: move it away")
    draft.replace(path)
    text = msgspec.json.format(msgspec.json.encode(note), indent=2)
    write_whole(path.with_name(note_name(note.month)), text + b"\n")


def _digest(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file in hex, and its bytes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            found.update(part)
        return found.hexdigest(), file.tell()


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ParquetMissing(
            f"archives need {error.name}: pip install 'tollkeeper[parquet]'"
        ) from error

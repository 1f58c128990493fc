"""Finds a record in the files of archived months, and proves that it is in its month."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy.accounting.archiving.job import ParquetMissing, check_archive
from proxy.accounting.archiving.tally import MonthTally
from proxy.core.records.canonical import COLUMNS, Value
from proxy.core.records.checkpoints import RecordProof, record_proof
from proxy.core.records.merkle import CHUNK, leaf_hash, path_of, root_of
from proxy.ledger import LedgerError
from proxy.ledger.archives import Archive, may_hold
from proxy.ledger.reading import Entry, entries

_PLACE = {name: place for place, name in enumerate(COLUMNS)}


def where(archives: Sequence[Archive], id: str) -> str | None:
    """In which files a record may be that the ledger has not got; None: no month is archived."""
    if not archives:
        return None
    names = ", ".join(archive.file for archive in may_hold(archives, id))
    return f"if it was booked, it is in {names}: name their directory with --archive"


def record_in(directory: Path, archives: Sequence[Archive], id: str) -> list[Entry]:
    """The record and its adjustments in the files of the directory; empty: none has it.

    Raises LedgerError for another file than the ledger named.
    """
    found: list[Sequence[Value]] = []
    for archive in may_hold(archives, id):
        found += _library().rows_about(_checked(directory, archive), id)
    return entries(sorted(found, key=lambda row: (row[_PLACE["id"]] != id, row[_PLACE["seq"]])))


def proof_in(directory: Path, archives: Sequence[Archive], id: str) -> RecordProof | None:
    """A proof that the record is in its month; None: no file has it. Raises LedgerError."""
    for archive in may_hold(archives, id):
        path = _checked(directory, archive)
        if any(row[_PLACE["id"]] == id for row in _library().rows_about(path, id)):
            return _proved(path, directory, archive, id)
    return None


def _proved(path: Path, directory: Path, archive: Archive, id: str) -> RecordProof:
    note = check_archive(directory, archive.month)
    tally = MonthTally(note.first_seq, note.chains)
    leaves: list[bytes] = []
    roots: list[bytes] = []
    mine: tuple[int, list[bytes], bytes, int] | None = None  # index, its chunk, its text, version
    size = 0
    for row in _library().rows_of(path):
        text = tally.add(row)
        if row[_PLACE["id"]] == id:
            mine = (size, leaves, text, int(row[_PLACE["hash_version"]]))
        leaves.append(leaf_hash(text))
        size += 1
        if len(leaves) == CHUNK:
            roots.append(root_of(leaves))
            leaves = []
    if leaves:
        roots.append(root_of(leaves))
    assert mine is not None, "the file has it"
    index, chunk, text, version = mine
    return record_proof(
        id=id,
        month=archive.month,
        leaf=text,
        index=index,
        size=size,
        path=[*path_of(chunk, index % CHUNK), *path_of(roots, index // CHUNK)],
        checkpoint=note.checkpoint,
        public_key=bytes.fromhex(note.public_key),
        hash_version=version,
    )


def _checked(directory: Path, archive: Archive) -> Path:
    path = directory / archive.file
    if not path.exists():
        raise LedgerError(f"{path} is not there: the month {archive.month} is in it")
    if path.stat().st_size != archive.bytes:
        raise LedgerError(f"{path} is not the file that the ledger named: its size is another one")
    return path


def _library() -> Any:
    try:
        return importlib.import_module("proxy.accounting.archiving.parquet_file")
    except ModuleNotFoundError as error:
        raise ParquetMissing(
            f"archives need {error.name}: pip install 'tollkeeper[parquet]'"
        ) from error

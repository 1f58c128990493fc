"""What stands beside an archive's file: enough to check it without the ledger."""

from __future__ import annotations

from typing import Literal

import msgspec

from proxy.ledger.archives import ChainStart, MonthTotals


class ArchiveNote(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one sealed month, in a file of Parquet.

    first_seq, last_seq · its records    prev_hash, hash · before its first and of its last record
    root, checkpoint, public_key · of the month's tree, as `ledger seal` signed it
    file, bytes, sha256 · the file beside this note
    chains · where each of several chains begins; empty: the records are one chain
    Hashes and the key are hex digits.
    """

    tollkeeper_archive: Literal[1] = 1
    month: str
    first_seq: int
    last_seq: int
    prev_hash: str
    hash: str
    root: str
    checkpoint: str
    public_key: str
    file: str
    bytes: int
    sha256: str
    totals: MonthTotals
    chains: list[ChainStart] = []


def file_name(month: str) -> str:
    """The name of the month's file; its note has the same with another ending."""
    return f"ledger-{month}.parquet"


def note_name(month: str) -> str:
    """The name of the note beside it."""
    return f"ledger-{month}.json"

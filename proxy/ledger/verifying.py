"""Verifies one chain of records in one pass: every hash from the first row on, and each seal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from proxy.core.records.canonical import COLUMNS, Value
from proxy.core.records.chain import FINDINGS_MAX, ChainPlace, ChainWalk, row_text
from proxy.core.records.chain import Head as Head

PROBLEMS_MAX: Final = FINDINGS_MAX  # a rewritten book has one for each row


class Verified(msgspec.Struct, frozen=True):
    """What was checked, and what is wrong, in the order of the book.

    Without problems every row is as it was booked. `seals_of_other_keys` could not be checked:
    they were made with another key, or no key was given.
    """

    records: int
    seals: int
    seals_of_other_keys: int
    problems: tuple[str, ...]


class ChainCheck:
    """One pass over a chain: the expected next row and the next seal.

    `start` it, give it each `record` in the order of the chain, and `end` it.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._walk = ChainWalk(ChainPlace(0), key)
        self._heads: Iterator[Head] = iter(())
        self._head: Head | None = None

    def start(self, checkpoint: Head | None, heads: Iterable[Head]) -> None:
        """Begin at the last checkpoint, if a prefix was pruned, with the heads behind it."""
        if checkpoint is not None:
            seq, row_hash = checkpoint[:2]
            self._walk = ChainWalk(ChainPlace(0, seq, row_hash, seq), self._key)
            self._walk.check_seal(checkpoint, "checkpoint")
        behind = 0 if checkpoint is None else checkpoint[0]
        self._heads = (head for head in heads if head[0] > behind)
        self._head = next(self._heads, None)

    def record(self, row: Sequence[Value]) -> None:
        """One row: in its place, its hash right, and its seal if it ended a batch."""
        stored = dict(zip(COLUMNS, row, strict=True))
        text = row_text(stored)
        seq, prev_hash, row_hash = stored["seq"], stored["prev_hash"], stored["hash"]
        assert isinstance(seq, int), "seq is the table's integer key"
        heads = []
        while self._head is not None and self._head[0] <= seq:
            heads.append(self._head)
            self._head = next(self._heads, None)
        link = (seq, b"" if text is None else text, prev_hash, row_hash)
        self._walk.page([link], heads, lambda _: (str(stored["id"]), text))

    def end(self) -> None:
        """Check the end: every row is sealed, and every seal has its rows."""
        if self._head is not None:
            self._walk.page([], [self._head], lambda _: ("", None))
        else:
            self._walk.end()

    def found(self) -> Verified:
        """What was found so far."""
        walk = self._walk
        problems = tuple(finding.what for finding in walk.findings)
        return Verified(walk.rows, walk.seals, walk.foreign, problems)

"""Verifies a chain of records: recomputes every hash from the first row on, checks each seal."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from proxy.core.records.canonical import (
    COLUMNS,
    GENESIS,
    HASHED_BY_VERSION,
    Value,
    chained,
    key_name,
    seal,
)

PROBLEMS_MAX: Final = 100  # a rewritten book has one for each row

# seq, hash, when, the key's name, the seal
Head: TypeAlias = tuple[int, bytes, int, str, bytes]


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
        self._key_name = None if key is None else key_name(key)
        self._seq = 0
        self._prev_hash = GENESIS
        self._heads: Iterator[Head] = iter(())
        self._head: Head | None = None
        self._last_sealed_seq = 0
        self.records = self.seals = self.foreign = 0
        self.problems: list[str] = []

    def start(self, checkpoint: Head | None, heads: Iterable[Head]) -> None:
        """Begin at the last checkpoint, if a prefix was pruned, with the heads behind it."""
        if checkpoint is not None:
            self._check_seal(checkpoint, "checkpoint")
            self._seq, self._prev_hash = checkpoint[:2]
            self._last_sealed_seq = self._seq
        self._heads = iter(heads)
        self._head = next(self._heads, None)

    def record(self, row: Sequence[Value]) -> None:
        """One row: in its place, its hash right, and its seal if it ended a batch."""
        stored = dict(zip(COLUMNS, row, strict=True))
        seq, row_hash, prev_hash, version = (
            stored["seq"],
            stored["hash"],
            stored["prev_hash"],
            stored["hash_version"],
        )
        assert isinstance(seq, int), "seq is the table's integer key"
        where = f"record seq {seq} id {stored['id']!r}"
        if seq != self._seq + 1:
            self._problem(f"{where}: follows seq {self._seq}; rows between are missing")
        if prev_hash != self._prev_hash:
            self._problem(f"{where}: does not follow the row before it")
        hashed = HASHED_BY_VERSION.get(version) if isinstance(version, int) else None
        if hashed is None:
            self._problem(f"{where}: unknown hash_version {version!r}")
        elif not _intact([stored[name] for name in hashed], self._prev_hash, row_hash):
            self._problem(f"{where}: changed since it was booked")
        self._seq = seq
        self._prev_hash = row_hash if isinstance(row_hash, bytes) else GENESIS
        self.records += 1
        while self._head is not None and self._head[0] <= seq:
            self._check_head(self._head, seq)
            self._head = next(self._heads, None)

    def end(self) -> None:
        """Check the end: every row is sealed, and every seal has its rows."""
        if self._head is not None:
            self._problem(f"seal of seq {self._head[0]}: the rows it covers are missing")
        elif self._last_sealed_seq != self._seq:
            self._problem(f"rows after seq {self._last_sealed_seq} are not sealed")

    def _check_head(self, head: Head, seq: int) -> None:
        self._last_sealed_seq = head[0]
        self.seals += 1
        if head[0] != seq or head[1] != self._prev_hash:
            self._problem(f"seal of seq {head[0]}: made for another row")
        self._check_seal(head, "seal")

    def _check_seal(self, head: Head, what: str) -> None:
        seq, row_hash, at_ms, made_with, given = head
        if self._key is None or made_with != self._key_name:
            self.foreign += 1
        elif not hmac.compare_digest(seal(self._key, seq, at_ms, row_hash), given):
            self._problem(f"{what} of seq {seq}: not made with this key")

    def found(self) -> Verified:
        """What was found so far."""
        return Verified(self.records, self.seals, self.foreign, tuple(self.problems))

    def _problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)


def _intact(values: list[Value], prev_hash: bytes, row_hash: Value) -> bool:
    # No hashed column has bytes, and bytes would be encoded like the text of their base64.
    return (
        not any(isinstance(value, bytes) for value in values)
        and chained(prev_hash, values) == row_hash
    )

"""Walks a chain of booked rows and says what is wrong with it, whatever the database.

A row is bad if it was changed, if rows before it are missing, or if it does not follow the row
before it. A seal is bad if it was made for another row or with another key. A walk goes page by
page. Its place is one small struct, so that it can go on later or in another process.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from proxy.core.records.canonical import GENESIS, HASHED_BY_VERSION, Value, canonical, seal
from proxy.core.records.canonical import key_name as name_of_key

FINDINGS_MAX: Final = 100  # of one page: a rewritten book has one for each row

# seq, canonical bytes, prev_hash and hash. The bytes may be made by a short way: where they do not
# fit the hash, `Exactly` is asked before the row is called bad.
Link: TypeAlias = tuple[int, bytes, object, object]
# seq, hash, when (Unix ms), the key's name, the seal
Head: TypeAlias = tuple[int, bytes, int, str, bytes]
# The id of the row with this seq, and surely its canonical bytes; None if its version is not known.
Exactly: TypeAlias = Callable[[int], tuple[str, bytes | None]]


class Flaw(msgspec.Struct, frozen=True):
    """One thing that is wrong in the book.

    part · where: records, rollups, credits …    seq, id · the row, if it has them
    what · one sentence for people
    """

    part: str
    what: str
    seq: int | None = None
    id: str | None = None


class ChainPlace(msgspec.Struct, frozen=True):
    """Where a walk stands: behind the row `seq` with `hash`; `sealed` is the last seq with a seal.

    `through` is the last seq of the walk. `own`: a seal of the key at hand was seen. `goes_on`: the
    chain goes on behind it.
    """

    through: int
    seq: int = 0
    hash: bytes = GENESIS
    sealed: int = 0
    own: bool = False
    goes_on: bool = False


class ChainWalk:
    """One walk over one chain. `part` names it in findings, `row` names one of its rows."""

    def __init__(
        self, place: ChainPlace, key: bytes | None, *, part: str = "records", row: str = "record"
    ) -> None:
        self._key = key
        self._key_name = None if key is None else name_of_key(key)
        self._part, self._row = part, row
        self._through, self._goes_on = place.through, place.goes_on
        self._seq, self._last, self._sealed = place.seq, place.hash, place.sealed
        self._own = place.own
        self.rows = self.seals = self.foreign = 0
        self.found = 0
        self.findings: list[Flaw] = []

    @property
    def place(self) -> ChainPlace:
        """Where the walk stands now."""
        return ChainPlace(
            self._through, self._seq, self._last, self._sealed, self._own, self._goes_on
        )

    def page(self, links: Iterable[Link], heads: Sequence[Head], exactly: Exactly) -> None:
        """Walk on over rows in the order of their seq, and the seals in the same stretch."""
        seq, last, sha256 = self._seq, self._last, hashlib.sha256
        waiting = iter(heads)
        head = next(waiting, None)
        rows = 0
        for at, text, prev_hash, row_hash in links:
            rows += 1
            if at != seq + 1 or prev_hash != last or sha256(last + text).digest() != row_hash:
                self._odd((at, text, prev_hash, row_hash), seq, last, exactly)
            seq, last = at, row_hash if isinstance(row_hash, bytes) else GENESIS
            while head is not None and head[0] <= seq:
                self._check_head(head, seq, last)
                head = next(waiting, None)
        self.rows += rows
        self._seq, self._last = seq, last
        while head is not None:
            self._add(f"seal of seq {head[0]}: the rows it covers are missing", head[0])
            head = next(waiting, None)

    def end(self) -> None:
        """Check the end of the chain: every row is sealed, and no row is missing there."""
        if self._seq < self._through:
            self._add(
                f"{self._row}s end at seq {self._seq}, and seals go on to {self._through}: "
                "the last ones are missing",
                self._through,
            )
        elif self._sealed != self._seq and not self._goes_on:
            self._add(f"rows after seq {self._sealed} are not sealed", self._sealed + 1)

    def check_seal(self, head: Head, what: str) -> None:
        """Check one seal or checkpoint, if it was made with the key at hand."""
        seq, made_with = head[0], head[3]
        if self._key is None or made_with != self._key_name:
            self.foreign += 1
            if self._own:
                self._add(f"{what} of seq {seq}: made with another key than those before it", seq)
            return
        self._own = True
        if not _made_with(self._key, head):
            self._add(f"{what} of seq {seq}: not made with this key", seq)

    def _odd(self, link: Link, seq: int, last: bytes, exactly: Exactly) -> None:
        """Say what is wrong with a row that is not as usual, if anything is."""
        at, _, prev_hash, row_hash = link
        id, text = exactly(at)
        where = f"{self._row} seq {at} id {id!r}"
        if at != seq + 1:
            self._add(f"{where}: follows seq {seq}; rows between are missing", at, id)
        if text is None:
            self._add(f"{where}: its hash_version is not known", at, id)
        elif isinstance(prev_hash, bytes) and _hash(prev_hash, text) == row_hash:
            if prev_hash != last and at == seq + 1:
                self._add(f"{where}: does not follow the row before it", at, id)
        elif _hash(last, text) == row_hash:
            self._add(f"{where}: its prev_hash was changed", at, id)
        else:
            self._add(f"{where}: changed since it was booked", at, id)

    def _check_head(self, head: Head, seq: int, row_hash: bytes) -> None:
        self._sealed = head[0]
        self.seals += 1
        if head[0] != seq or head[1] != row_hash:
            self._add(f"seal of seq {head[0]}: made for another row", head[0])
        self.check_seal(head, "seal")

    def _add(self, what: str, seq: int, id: str | None = None) -> None:
        self.found += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Flaw(self._part, what, seq, id))


def row_text(row: dict[str, Value]) -> bytes | None:
    """The canonical bytes of a stored row; None if its hash_version is not known.

    No hashed column has bytes, and bytes would be encoded like the text of their base64. So a row
    with some gives bytes that fit no hash.
    """
    version = row["hash_version"]
    hashed = HASHED_BY_VERSION.get(version) if isinstance(version, int) else None
    if hashed is None:
        return None
    values = [row[name] for name in hashed]
    return b"" if any(isinstance(value, bytes) for value in values) else canonical(values)


def _made_with(key: bytes, head: Sequence[object]) -> bool:
    """Whether this key made the seal. What a forger put there may be of any type."""
    seq, row_hash, at_ms, _, given = head
    return (
        isinstance(seq, int)
        and isinstance(at_ms, int)
        and isinstance(row_hash, bytes)
        and isinstance(given, bytes)
        and hmac.compare_digest(seal(key, seq, at_ms, row_hash), given)
    )


def _hash(prev_hash: bytes, text: bytes) -> bytes:
    return hashlib.sha256(prev_hash + text).digest()

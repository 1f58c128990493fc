"""Goes over a month's records in their order: its tree, its chain, and what it comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from proxy.core.records.canonical import COLUMNS, GENESIS, Value
from proxy.core.records.chain import row_text
from proxy.core.records.merkle import CHUNK, leaf_hash, root_of
from proxy.ledger import LedgerError
from proxy.ledger.archives import ChainStart, MonthTotals

_PLACE = {name: place for place, name in enumerate(COLUMNS)}
_SEQ, _KIND, _ADJUSTS, _CURRENCY, _COST, _CHARGE, _INPUT, _OUTPUT, _PREV, _HASH = (
    _PLACE[name]
    for name in (
        "seq",
        "kind",
        "adjusts",
        "currency",
        "cost_nano",
        "charge_nano",
        "input_tokens",
        "output_tokens",
        "prev_hash",
        "hash",
    )
)


class MonthTally:
    """Rows are added in their order, as canonical values. Nothing of them is kept but hashes.

    `chains` says where each of several chains begins. In one chain, places are those of the book.
    """

    def __init__(self, first_seq: int, chains: Sequence[ChainStart] = ()) -> None:
        self._next = first_seq
        # By the hash of a chain's last row: the place in the chain of the next one.
        self._places = {bytes.fromhex(one.prev_hash): one.first_seq for one in chains}
        self._new_chains = sum(bytes.fromhex(one.prev_hash) == GENESIS for one in chains)
        self._leaves: list[bytes] = []
        self._chunks: list[bytes] = []
        self._counts = [0, 0, 0, 0]  # records, adjustments, input and output tokens
        self._costs: dict[str, int] = {}
        self._charges: dict[str, int] = {}
        self.first_prev_hash: bytes | None = None
        self.last_hash: bytes | None = None

    def add(self, row: Sequence[Value]) -> bytes:
        """The next row; returns what is hashed of it.

        Raises LedgerError where it was changed or does not follow the last one of its chain.
        """
        prev_hash, row_hash = row[_PREV], row[_HASH]
        assert isinstance(prev_hash, bytes), "a digest, as it is read from a ledger or a file"
        if self.first_prev_hash is None:
            self.first_prev_hash = prev_hash
            self._places.setdefault(prev_hash, self._next)
        place = self._place_behind(prev_hash)
        stored = dict(zip(COLUMNS, row, strict=True)) | {"seq": place}
        text = None if place is None else row_text(stored)
        if (
            row[_SEQ] != self._next
            or place is None
            or text is None
            or hashlib.sha256(prev_hash + text).digest() != row_hash
        ):
            raise LedgerError(f"the record of seq {self._next} is missing or was changed")
        assert isinstance(row_hash, bytes), "it is a digest"
        self._places[row_hash] = place + 1
        self.last_hash = row_hash
        self._next += 1
        self._leaves.append(leaf_hash(text))
        if len(self._leaves) == CHUNK:
            self._chunks.append(root_of(self._leaves))
            self._leaves = []
        self._count(row)
        return text

    @property
    def last_seq(self) -> int:
        """Of the row that was added last."""
        return self._next - 1

    def root(self) -> bytes:
        """The root of the tree over all rows so far."""
        rest = [root_of(self._leaves)] if self._leaves else []
        return root_of([*self._chunks, *rest])

    def totals(self) -> MonthTotals:
        """What they come to."""
        records, adjustments, input_tokens, output_tokens = self._counts
        return MonthTotals(
            records,
            adjustments,
            input_tokens,
            output_tokens,
            costs=dict(self._costs),
            charges=dict(self._charges),
        )

    def _place_behind(self, prev_hash: bytes) -> int | None:
        """The place in its chain of the row behind that one; None: no chain ends there."""
        if prev_hash == GENESIS and self._new_chains > 1:  # one more begins
            self._new_chains -= 1
            return self._places[GENESIS]
        return self._places.pop(prev_hash, None)

    def _count(self, row: Sequence[Value]) -> None:
        self._counts[0] += 1
        self._counts[1] += row[_ADJUSTS] is not None
        for place, column in ((2, _INPUT), (3, _OUTPUT)):
            if isinstance(number := row[column], int):
                self._counts[place] += number
        currency = row[_CURRENCY]
        if isinstance(currency, str):
            for sums, column in ((self._costs, _COST), (self._charges, _CHARGE)):
                if isinstance(nano := row[column], int):
                    sums[currency] = sums.get(currency, 0) + nano

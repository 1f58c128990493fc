"""What goes into the book beside records, kept until a batch takes it along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from proxy.ledger import Batch, Close, Refusal

# Keys x reasons x limits that are told apart: while the ledger cannot take them, and of a quarter
# hour. Under `auth: forward` clients make up keys, and each would be a row for good.
REFUSAL_GROUPS_MAX = 4096
REFUSAL_ROWS_MAX = 20_000
REFUSAL_BUCKET_MS = 15 * 60 * 1000
_Group: TypeAlias = tuple[int, str | None, str, str | None, str | None]


class Pending:
    """Refusals, salts of end users and terms of prices that the ledger does not have yet.

    True if there are any. Refusals are kept in memory alone: nobody is billed for them.
    """

    def __init__(self) -> None:
        self._refusals: dict[_Group, int] = {}
        self._bucket_ms = 0
        self._told_apart: set[_Group] = set()  # in that quarter hour
        self._salts: list[tuple[str, bytes]] = []
        self._price_terms: dict[str, bytes] = {}
        self._told_terms: dict[str, bytes] = {}  # since the start

    def __bool__(self) -> bool:
        return bool(self._refusals or self._salts or self._price_terms)

    def refused(
        self,
        key_id: str | None,
        code: str,
        now_ms: int,
        *,
        team: str | None = None,
        limit_id: str | None = None,
    ) -> None:
        """Count a refused request by quarter hour, key, its team, reason and limit."""
        bucket_ms = now_ms - now_ms % REFUSAL_BUCKET_MS
        if bucket_ms != self._bucket_ms:
            self._bucket_ms, self._told_apart = bucket_ms, set()
        group: _Group = (bucket_ms, key_id, code, team, limit_id)
        full = len(self._refusals) >= REFUSAL_GROUPS_MAX and group not in self._refusals
        if full or (len(self._told_apart) >= REFUSAL_ROWS_MAX and group not in self._told_apart):
            group = (bucket_ms, None, code, None, None)
        else:
            self._told_apart.add(group)
        self._refusals[group] = self._refusals.get(group, 0) + 1

    def salts(self, made: Sequence[tuple[str, bytes]]) -> None:
        """Salts of end users, as (look-up value, salt)."""
        self._salts += made

    def price_terms(self, version: str, terms: bytes) -> None:
        """The terms that records with this `price_version` are priced by."""
        self._price_terms[version] = self._told_terms[version] = terms

    def again(self, batch: Batch) -> None:
        """Keep what a batch took along that was not booked, and all terms of prices."""
        for one in batch.refusals:
            group = (one.bucket_ms, one.key_id, one.code, one.team, one.limit_id)
            self._refusals[group] = self._refusals.get(group, 0) + one.count
        self._salts += batch.salts
        self._price_terms |= self._told_terms

    def batch(
        self, writer: str, closes: Sequence[Close] = (), position: int | None = None
    ) -> Batch:
        """A batch of these closes that takes along all that is pending."""
        batch = Batch(
            writer=writer,
            closes=closes,
            position=position,
            salts=tuple(self._salts),
            refusals=tuple(
                Refusal(bucket_ms, key_id, code, count, team, limit_id)
                for (bucket_ms, key_id, code, team, limit_id), count in self._refusals.items()
            ),
            price_versions=tuple(self._price_terms.items()),
        )
        self._salts, self._refusals, self._price_terms = [], {}, {}
        return batch

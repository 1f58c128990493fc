"""Decides which records of a batch are new, whatever the database.

New are records with an unknown id, and an adjustment for each record that contradicts the one
booked under its id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from proxy.core.records.corrections import LATE_CLOSE, is_weaker, late_close, late_close_id, same
from proxy.core.usage import UsageRecord
from proxy.ledger import Booked


class Known(Protocol):
    """What the book has already, as the transaction sees it. Each raises LedgerUnavailable."""

    def known(self, ids: Sequence[str]) -> Collection[str]:
        """Which of these ids are booked."""
        ...

    def booked(self, id: str) -> UsageRecord:
        """The record under an id that is known."""
        ...

    def corrections(self, id: str) -> list[UsageRecord]:
        """What adjusts this record, in the order of booking."""
        ...


def sorted_out(
    records: Sequence[UsageRecord], book: Known, fit: Callable[[UsageRecord], UsageRecord]
) -> tuple[list[UsageRecord], Booked]:
    """The new rows of the batch, in order, and how many there are of each kind.

    `fit` makes a record one that the database has room for.
    """
    known_ids = book.known([record.id for record in records])
    fresh: dict[str, UsageRecord] = {}
    known = adjustments = 0
    for given in records:
        record = fit(given)
        if record.id not in known_ids and record.id not in fresh:
            fresh[record.id] = record
            continue
        correction = _correction(record, fresh, book)
        if correction is None:
            known += 1
        else:
            fresh[correction.id] = fit(correction)
            adjustments += 1
    return list(fresh.values()), Booked(
        inserted=len(fresh) - adjustments, known=known, adjustments=adjustments
    )


def served(records: Sequence[UsageRecord]) -> list[tuple[str, str, str]]:
    """Which model answered for which of each upstream, each pair once and in order."""
    return sorted(
        {
            (record.upstream, record.model_requested, record.model_served)
            for record in records
            if record.model_requested is not None and record.model_served is not None
        }
    )


def _correction(
    record: UsageRecord, fresh: dict[str, UsageRecord], book: Known
) -> UsageRecord | None:
    """The adjustment for a record whose id is known.

    None: the record says nothing new, or is less certain than what is booked.
    """
    booked = fresh[record.id] if record.id in fresh else book.booked(record.id)
    adjustment_id = late_close_id(record)
    if same(booked, record) or adjustment_id in fresh or book.known([adjustment_id]):
        return None
    earlier = book.corrections(record.id)
    earlier += [other for other in fresh.values() if other.adjusts == record.id]
    told = [booked, *(other for other in earlier if other.reason == LATE_CLOSE)]
    if any(is_weaker(record, known) for known in told):
        return None
    return late_close(booked, earlier, record)

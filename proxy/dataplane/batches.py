"""Batches whose use is not known yet, and what they have used once a vendor says so.

A vendor works on a batch behind the answer that made it, and states what it has used in the batch
object when that is over. The first such answer that passes books it, as a correction of the record
of the request that made the batch. Those that wait are read from the ledger at the start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from proxy.core.dialects.batch import VendorsBatch
from proxy.core.entries import Opened
from proxy.core.pricing.amounts import HasCounts, Priced, Pricing
from proxy.core.records.ending import Ending, How
from proxy.core.records.late import batch_record
from proxy.core.usage import ChargeClass, UsageRecord

BATCHES_MAX: Final = (
    16_384  # that wait; the oldest are forgotten first, and their use stays unknown
)


class Batches:
    """Those that wait, by their upstream and id: each with its record. Lives on the event loop."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[str, str], UsageRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def begun(self, records: Iterable[UsageRecord]) -> None:
        """These records are of requests that made a batch each, whose use nobody knows yet."""
        for record in records:
            if record.upstream_request_id is None:
                continue
            id, *_ = record.upstream_request_id.split()
            self._waiting.setdefault((record.upstream, id), record)
            if len(self._waiting) > BATCHES_MAX:
                self._waiting.popitem(last=False)

    def over(self, upstream: str, batch: VendorsBatch) -> UsageRecord | None:
        """The record of the request that made this batch, once, if it says what it has used."""
        return self._waiting.pop((upstream, batch.id), None) if batch.tells_its_use else None


def as_ordered(opened: Opened, ending: Ending) -> Opened:
    """The opening of a request that orders a batch or the like, of which the use is known later.

    A refused order uses nothing; a fee is all that its operator charges.
    """
    refused = ending.how is How.NO_HEAD or not (ending.status is None or ending.status < 300)
    if refused or opened.charge_class is ChargeClass.PER_REQUEST:
        return opened
    return msgspec.structs.replace(opened, charge_class=ChargeClass.LATER)


def late_batch(
    booked: UsageRecord, batch: VendorsBatch, now_ms: int, writer: str, prices: Pricing
) -> UsageRecord | None:
    """The record of the request that made a batch, with what that has used."""
    return batch_record(
        booked,
        batch.usage,
        model=batch.model,
        status=batch.status,
        now_ms=now_ms,
        writer=writer,
        pricing=_PricesOfBatches(prices),
    )


class _PricesOfBatches:
    """Prices by the rows of batches alone, as a rerating of the record will."""

    def __init__(self, prices: Pricing) -> None:
        self._prices = prices

    def price(self, counts: HasCounts, **names: Any) -> Priced:
        """See `Pricing.price`."""
        names["charge_class"] = ChargeClass.LATER
        return self._prices.price(counts, **names)

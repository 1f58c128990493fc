"""Ends what a dead process holds of limits in a shared quota, as the book says.

The store says which requests these are, and not the journal: of some the end was booked and not
counted, and some were held and never sent. So each is looked up, once the journal is booked.
"""

from __future__ import annotations

import asyncio

from proxy.core.limits.decisions import Used
from proxy.core.records.corrections import used_by
from proxy.core.usage import UsageRecord
from proxy.ledger import Ledger, Reader
from proxy.quota.left import LeftHolds


async def end_as_booked(left: LeftHolds, ledger: Ledger, reader: Reader) -> int:
    """End all that the process holds; the number of requests. Its journal is booked, and locked.

    A request without a record was never sent: its opening comes before its first byte. Raises
    QuotaUnavailable, LedgerError and LedgerUnavailable, and may be called again.
    """
    requests = await left.requests()
    for start in range(0, len(requests), ledger.batch_max):
        part = requests[start : start + ledger.batch_max]
        booked = await ledger.stored([request.id for request in part])
        for request in part:
            await left.settle(request, await booked_use(reader, booked.get(request.id)))
    await left.gone()
    return len(requests)


async def booked_use(reader: Reader, record: UsageRecord | None) -> Used | None:
    """What the book says was used, with all corrections; None: there is no record."""
    if record is None:
        return None
    corrections = await asyncio.to_thread(reader.adjustments, record.id)
    return used_by(record, *(entry.record for entry in corrections))

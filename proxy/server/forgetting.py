"""Gives up a process that will not come back: what it holds of limits is charged at its bound.

Its journal is lost, so nothing tells which of its requests were sent, nor how far they came. Each
that the ledger does not have gets one record of all that was held for it, in the name of that
process. It is booked in a chain of its own, and not in that of the process: should this one come
back after all, it goes on there, and what it knows better becomes an adjustment (`late_close`).

Each step may be repeated, so a run that was broken off is simply done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.pricing.book import PriceBook
from proxy.core.records.corrections import used_by
from proxy.core.records.settlement import FORGOTTEN, at_its_bound
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, Ledger
from proxy.ledger.sharing import Instance
from proxy.quota.left import HeldRequest, LeftHolds

CHAIN: Final = "forgotten instances"  # no process can have this name, which has a space


class Charged(msgspec.Struct, frozen=True):
    """What ends with a process that is given up.

    charged · requests that the ledger does not have, and their records    booked · those that it
    has    unknown · how many it does not have and of which nothing was stored; they stay held
    """

    charged: Sequence[tuple[HeldRequest, UsageRecord]]
    booked: Sequence[tuple[HeldRequest, UsageRecord]]
    unknown: int

    def charge_nano(self) -> dict[str, int]:
        """What is charged, by currency."""
        sums: dict[str, int] = {}
        for _, record in self.charged:
            if record.currency is not None and record.charge_nano is not None:
                sums[record.currency] = sums.get(record.currency, 0) + record.charge_nano
        return sums


async def look(held: LeftHolds, ledger: Ledger, prices: PriceBook, instance: Instance) -> Charged:
    """What would be charged; nothing changes. Raises QuotaUnavailable and LedgerUnavailable."""
    requests = [request for request in await held.requests() if not request.given_up]
    known: dict[str, UsageRecord] = {}
    for start in range(0, len(requests), ledger.batch_max):
        part = requests[start : start + ledger.batch_max]
        known |= await ledger.stored([request.id for request in part])
    charged, booked, unknown = [], [], 0
    for request in requests:
        record = known.get(request.id)
        if record is not None:
            booked.append((request, record))
        elif request.opened is None:
            unknown += 1
        else:
            # So that it is the same each time: the process was there until it was heard of last.
            duration_ms = max(0, instance.seen_at_ms - request.opened.started_at_ms)
            record = at_its_bound(
                request.opened, request.output_tokens, instance.name, duration_ms, prices
            )
            charged.append((request, record))
    return Charged(charged, booked, unknown)


async def charge(found: Charged, held: LeftHolds, ledger: Ledger, prices: PriceBook) -> None:
    """Book the records, then end what is held. Raises as `look` does."""
    records = [record for _, record in found.charged]
    for start in range(0, len(records), ledger.batch_max):
        part = records[start : start + ledger.batch_max]
        closes = [(0, record) for record in part]
        terms = [(prices.version, prices.terms())]
        await ledger.book(Batch(CHAIN, closes, price_versions=terms))
    for request, record in (*found.booked, *found.charged):
        if record.origin == FORGOTTEN:
            await held.give_up(request, used_by(record))
        else:
            await held.settle(request, used_by(record))

"""A month whose bill differs from the ledger in known places."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.core.money import decimal
from proxy.core.reconciling.causes import Cause
from proxy.core.usage import Outcome, Source, UsageRecord
from tests.accounting.reconciling.books import NOVEMBER_MS, PRICES, by_request, priced

CUT: dict[str, Any] = {"outcome": Outcome.CLIENT_CLOSED, "source": Source.PARTIAL}
GUESSED: dict[str, Any] = {"source": Source.ESTIMATED, "output_source": Source.ESTIMATED}


def cost(record: UsageRecord, **changes: Any) -> int:
    """What the record would cost, were it otherwise."""
    found = PRICES.price_record(msgspec.structs.replace(record, **changes)).cost_nano
    assert found is not None
    return found


def planted() -> tuple[list[UsageRecord], str, dict[str, Cause]]:
    """300 requests, their bill with 25 differences, and the cause of each by the vendor's id."""
    special: dict[int, dict[str, Any]] = {}
    special |= {n: {"cached_tokens": 800} for n in (10, 40, 80, 120)}
    special |= dict.fromkeys((12, 52, 92), GUESSED)
    special |= dict.fromkeys((13, 53, 93), CUT)
    special |= {n: {"model_served": "gpt-4o-mini"} for n in (16, 56, 96)}
    # Just before the month, and on the bill's first day.
    special |= {n: {"started_at_ms": NOVEMBER_MS - n * 60_000} for n in (20, 21, 22)}
    records = [priced(n, **special.get(n, {})) for n in range(300)]
    causes: dict[str, Cause] = {}
    amounts = {f"gen-{n}": record.cost_nano or 0 for n, record in enumerate(records)}
    starts: dict[str, int] = {}

    def plant(n: int, cause: Cause, amount: int) -> None:
        causes[f"gen-{n}"] = cause
        amounts[f"gen-{n}"] = amount

    for n in (10, 40, 80, 120):
        plant(n, Cause.CACHED_AS_INPUT, cost(records[n], cached_tokens=0))
    for n in (11, 51, 91):
        plant(n, Cause.OTHER_TIER, cost(records[n], service_tier="priority"))
    for n in (12, 52, 92):
        plant(n, Cause.ESTIMATE, cost(records[n], output_tokens=431))
    for n in (13, 53, 93):
        plant(n, Cause.CANCELLED, cost(records[n], output_tokens=2_000))
    for n in (16, 56, 96):
        plant(n, Cause.MODEL_ALIAS, cost(records[n], model_served="gpt-4o"))
    for n in (17, 57, 97):
        nano = records[n].cost_nano or 0
        plant(n, Cause.ROUNDING, (nano + 5_000) // 10_000 * 10_000 if nano % 10_000 else nano + 1)
    for n in (18, 58, 98):
        causes[f"gen-{n}"] = Cause.RETRY
    for n in (20, 21, 22):
        causes[f"gen-{n}"] = Cause.DAY_BOUNDARY
        starts[f"gen-{n}"] = NOVEMBER_MS + 60_000
    lines = [*records, *(records[n] for n in (18, 58, 98))]
    bill = by_request(
        lines,
        cost_total=lambda record: decimal(amounts[record.upstream_request_id]),
        created_at=lambda record: starts.get(record.upstream_request_id, record.started_at_ms),
        tokens_completion=lambda record: (
            431
            if causes.get(record.upstream_request_id) is Cause.ESTIMATE
            else record.output_tokens
        ),
    )
    return records, bill, causes

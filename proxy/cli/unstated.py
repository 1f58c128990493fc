"""How much of the recent bill is not stated by the vendors, and what would make it exact: told at the start and by `check`."""

from __future__ import annotations

from datetime import UTC

from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.queries import Queries
from proxy.settings import Settings

DAYS = 30
_DAY_MS = 86_400_000


def unstated(settings: Settings, now_ms: int) -> list[str]:
    """A line for each upstream that is only observed and of whose recent requests some state no usage; none where there is no ledger yet."""
    observed = [name for name, upstream in settings.upstreams.items() if upstream.stream_usage == "observe"]
    try:
        rows = Queries(settings.ledger.url, settings.data_dir).usage(["upstream"], now_ms - DAYS * _DAY_MS, None, UTC)
    except (LedgerError, LedgerUnavailable):
        return []   # who opens the ledger to write says what is wrong with it
    found = []
    for name in observed:
        requests = sum(int(row["requests"] or 0) for row in rows if row["upstream"] == name)
        stated = sum(int(row["reported_requests"] or 0) for row in rows if row["upstream"] == name)
        if requests > stated:
            share = f"{requests - stated:,} of {requests:,} requests ({100 * (requests - stated) / requests:.0f} %) of the last {DAYS} days"
            found.append(f"upstreams.{name}: {share} state no usage of their own, so they were counted or estimated; stream_usage: inject makes whole streams exact")
    return found

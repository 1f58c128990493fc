"""What a caller sees of a record: not what it cost the operator, nor who else is there."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.usage import UsageRecord

_NOT_SHOWN: Final = frozenset(
    {
        "writer",
        "upstream_account",
        "labels",
        "cost_nano",
        "cost_original_nano",
        "upstream_cost_nano",
        "price_version",
        "price_model",
        "price_currency",
        "fx_rate",
    }
)


def as_shown(record: UsageRecord, booked_at_ms: int) -> dict[str, object]:
    """A record as its key or its team's lead sees it."""
    fields: dict[str, object] = msgspec.to_builtins(record)
    return {
        "object": "usage.record",
        **{name: value for name, value in fields.items() if name not in _NOT_SHOWN},
        "booked_at_ms": booked_at_ms,
    }

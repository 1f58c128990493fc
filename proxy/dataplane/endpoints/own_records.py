"""What a caller sees of a record: not what it cost the operator, nor who else is there."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from proxy.core.errors import ProxyError
from proxy.core.usage import UsageRecord
from proxy.ledger import Reader
from proxy.ledger.asking import answer_of
from proxy.ledger.reading import Entry
from proxy.tenants.ring import Tenant

_ID = re.compile(r"[0-9a-f-]{36}")

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


def may_read(tenant: Tenant, key_id: object, team: object) -> bool:
    """Whether a record or refusal is its own, or was its team's where it leads one."""
    own_team = team is not None and team == tenant.team
    return key_id == tenant.key_id or (tenant.lead and own_team)


async def own_record(reader: Reader, tenant: Tenant, id: str) -> Entry:
    """A record that the tenant may read. Raises ProxyError 404 where it has none of that id."""
    entry = await answer_of(reader.record, id) if _ID.fullmatch(id) else None
    if entry is None or not may_read(tenant, entry.record.key_id, entry.record.team):
        message = (
            "This key has no record of that id. A record is there a moment after its answer"
            " has ended; the id is in the answer's x-tollkeeper-id."
        )
        raise ProxyError(404, "invalid_request_error", "record_not_found", message)
    return entry


def as_shown(record: UsageRecord, booked_at_ms: int) -> dict[str, object]:
    """A record as its key or its team's lead sees it."""
    fields: dict[str, object] = msgspec.to_builtins(record)
    return {
        "object": "usage.record",
        **{name: value for name, value in fields.items() if name not in _NOT_SHOWN},
        "booked_at_ms": booked_at_ms,
    }

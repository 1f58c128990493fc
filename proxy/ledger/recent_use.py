"""What was used of late, as the counts of limits are rebuilt from it."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.usage import UsageRecord

# `Reader.recent` tells records of the last two minutes apart; it sums older ones by the second.
SINGLE_MS: Final = 120_000


class Recent(msgspec.Struct, frozen=True, gc=False):
    """A record, or what one key used of a model within a second."""

    started_at_ms: int
    key_id: str
    team: str | None
    upstream: str
    model_requested: str | None
    currency: str | None
    requests: int
    input_tokens: int | None
    output_tokens: int | None
    charge_nano: int | None
    end_user: str | None = None
    tags: dict[str, str] = {}

    @classmethod
    def of(cls, record: UsageRecord) -> Recent:
        """One record."""
        return cls(
            started_at_ms=record.started_at_ms,
            key_id=record.key_id,
            team=record.team,
            upstream=record.upstream,
            model_requested=record.model_requested,
            currency=record.currency,
            requests=1 if record.kind == "usage" else 0,
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            charge_nano=record.charge_nano,
            end_user=record.end_user,
            tags=record.tags,
        )


class ValueUse(msgspec.Struct, frozen=True, gc=False):
    """What one key used of a model for one end user or one value of a tag; None: it names none."""

    value: str | None
    key_id: str
    team: str | None
    upstream: str
    model_requested: str | None
    currency: str | None
    requests: int
    input_tokens: int | None
    output_tokens: int | None
    charge_nano: int | None

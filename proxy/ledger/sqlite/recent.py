"""Single records of the last minutes: what the rates of limits are rebuilt from at a start.
Synchronous and read-only."""

from __future__ import annotations

import msgspec

from proxy.core.usage import UsageRecord
from proxy.ledger.sqlite.queries import Queries, reading

# records of so long are told apart; older ones are summed by the second, as if all had come at its
# end
SINGLE_MS = 120_000


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

    @classmethod
    def of(cls, record: UsageRecord) -> Recent:
        """One record."""
        return cls(
            record.started_at_ms, record.key_id, record.team, record.upstream,
            record.model_requested, record.currency, 1,
            record.input_tokens, record.output_tokens, record.charge_nano,
        )  # fmt: skip


_SINGLE = """
SELECT started_at_ms, key_id, team, upstream, model_requested, currency, kind = 'usage', input_tokens, output_tokens, charge_nano
FROM records WHERE started_at_ms >= ?"""
_BY_SECOND = """
SELECT max(started_at_ms), key_id, team, upstream, model_requested, currency, sum(kind = 'usage'), sum(input_tokens), sum(output_tokens), sum(charge_nano)
FROM records WHERE started_at_ms >= ? AND started_at_ms < ? GROUP BY started_at_ms / 1000, 2, 3, 4, 5, 6"""


def recent(queries: Queries, since_ms: int, now_ms: int) -> list[Recent]:
    """In the order of their start. Raises what `Queries` does."""
    since_ms = max(
        since_ms, 0
    )  # a rate with a large burst looks back further than SQLite can count
    single_ms = max(since_ms, now_ms - SINGLE_MS)
    with reading(queries.path) as connection:
        rows = (
            connection.execute(_BY_SECOND, (since_ms, single_ms)).fetchall()
            if since_ms < single_ms
            else []
        )
        rows += connection.execute(_SINGLE, (single_ms,)).fetchall()
    return sorted((Recent(*row) for row in rows), key=lambda row: row.started_at_ms)

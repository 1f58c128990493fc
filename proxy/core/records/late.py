"""The record of a request whose use became known after it was booked. Pure.

A response in the background is answered before it is written. Its record says so (its finish reason
is `queued` or `in_progress`) and holds an estimate; when the answer is seen whole, this record
says what it took, under the same id, and the ledger books the difference. So does a batch.
"""

from __future__ import annotations

import msgspec

from proxy.core.entries import Opened
from proxy.core.pricing.amounts import Pricing
from proxy.core.records.ending import Ending, How
from proxy.core.records.settlement import settle
from proxy.core.usage import Outcome, Source, Usage, UsageRecord

BATCH_TIER = "batch"  # in price rows, as in Anthropic's answers
# A month leaves the book 32 days behind its last request. Then nobody could tell this record from a
# new one, and both would be charged.
CORRECTED_WITHIN_MS = 31 * 86_400_000
_FAILED = Usage(input_tokens=0, output_tokens=0)


def late_record(
    booked: UsageRecord, ending: Ending, now_ms: int, writer: str, pricing: Pricing
) -> UsageRecord | None:
    """What `booked` is with the use that `ending` states; None: it states none, or is too late.

    An answer that failed before a word was written states none and costs nothing.
    """
    if now_ms - booked.started_at_ms > CORRECTED_WITHIN_MS:
        return None
    if ending.usage is not None:
        how = How.ANSWERED
    elif ending.how is How.ERROR_EVENT and not ending.answered:
        how = How.ERROR_EVENT
    else:
        return None
    ended = msgspec.structs.replace(
        ending,
        how=How.ANSWERED,
        usage=_FAILED if ending.usage is None else ending.usage,
        usage_current=True,
        usage_final=True,
        answered=True,
        duration_ms=max(0, now_ms - booked.started_at_ms),
        first_byte_ms=booked.first_byte_ms,
        bytes_out=booked.bytes_out,
        chunks=booked.chunks,
        upstream_request_id=booked.upstream_request_id,
    )
    record = settle(_opened(booked), ended, writer, pricing)
    failed = how is How.ERROR_EVENT or ending.how is How.ERROR_EVENT
    return msgspec.structs.replace(
        record,
        outcome=Outcome.UPSTREAM_FAILED if failed else Outcome.COMPLETED,
        input_source=Source.REPORTED,
        output_source=Source.REPORTED,
        source=Source.REPORTED,
    )


def batch_record(
    booked: UsageRecord,
    usage: Usage | None,
    *,
    model: str | None,
    status: str,
    now_ms: int,
    writer: str,
    pricing: Pricing,
) -> UsageRecord | None:
    """What the record of a request that made a batch is, once that is over.

    Without `usage` nothing of it ran. `status`: how the batch ended.
    """
    ending = Ending(
        how=How.ERROR_EVENT if usage is None else How.ANSWERED,
        status=booked.status,
        usage=usage,
        answered=usage is not None,
        model_served=model,
        finish_reason=status,
        service_tier=BATCH_TIER,
    )
    return late_record(booked, ending, now_ms, writer, pricing)


def _opened(record: UsageRecord) -> Opened:
    """The opening that led to this record."""
    return Opened(
        id=record.id,
        started_at_ms=record.started_at_ms,
        key_id=record.key_id,
        team=record.team,
        labels=record.labels,
        end_user=record.end_user,
        tags=record.tags,
        endpoint=record.endpoint,
        dialect=record.dialect,
        upstream=record.upstream,
        upstream_account=record.upstream_account,
        model_requested=record.model_requested,
        stream=record.stream,
        client_retry_count=record.client_retry_count,
        bytes_in=record.bytes_in,
        tier_asked=record.service_tier,
    )

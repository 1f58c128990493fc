"""A use that becomes known after its record was booked."""

from __future__ import annotations

import pytest

from proxy.core.entries import Opened
from proxy.core.pricing.amounts import NoPrices
from proxy.core.records.corrections import is_weaker, late_close
from proxy.core.records.ending import Ending, How
from proxy.core.records.late import CORRECTED_WITHIN_MS, batch_record, late_record
from proxy.core.records.settlement import settle
from proxy.core.usage import Outcome, Source, Usage, UsageRecord
from proxy.ledger.archives import OPEN_WINDOW_MS

STATED = Usage(input_tokens=70, output_tokens=30, reasoning_tokens=5)


def booked() -> UsageRecord:
    opened = Opened(id="id", started_at_ms=1000, key_id="alice", team="t", endpoint="/v1/responses", upstream="u",
                    model_requested="m", input_estimate=100, tags={"feature": "x"})  # fmt: skip
    ending = Ending(how=How.ANSWERED, status=200, output_held=400, finish_reason="queued", upstream_request_id="resp_1",
                    bytes_out=9, chunks=1)  # fmt: skip
    return settle(opened, ending, "w", NoPrices())


@pytest.mark.parametrize(
    ("ending", "outcome", "counts"),
    [
        (Ending(how=How.ANSWERED, status=200, usage=STATED, finish_reason="completed"), Outcome.COMPLETED, (70, 30)),
        (Ending(how=How.ERROR_EVENT, status=200, usage=STATED, finish_reason="failed"), Outcome.UPSTREAM_FAILED, (70, 30)),
        (Ending(how=How.ERROR_EVENT, status=200, answered=False, finish_reason="failed"), Outcome.UPSTREAM_FAILED, (0, 0)),
    ],
)  # fmt: skip
def test_the_late_record_says_what_was_used_and_corrects_the_estimate(
    ending: Ending, outcome: Outcome, counts: tuple[int, int]
) -> None:
    first = booked()
    assert (first.source, first.finish_reason, first.output_tokens) == (
        Source.ESTIMATED,
        "queued",
        400,
    )
    late = late_record(first, ending, 9000, "w", NoPrices())
    assert late is not None
    assert (late.id, late.outcome, (late.input_tokens, late.output_tokens)) == (
        "id",
        outcome,
        counts,
    )
    assert (late.source, late.duration_ms, late.upstream_request_id) == (
        Source.REPORTED,
        8000,
        "resp_1",
    )
    assert (late.team, late.tags, late.bytes_out) == ("t", {"feature": "x"}, 9)
    assert not is_weaker(late, first)
    correction = late_close(first, [], late)
    assert (correction.input_tokens, correction.output_tokens) == (counts[0] - 100, counts[1] - 400)


@pytest.mark.parametrize(
    "ending",
    [
        Ending(how=How.ANSWERED, status=200, finish_reason="cancelled"),
        Ending(how=How.ERROR_EVENT, status=200, answered=True),
    ],
)
def test_where_nothing_is_stated_the_estimate_stands(ending: Ending) -> None:
    assert late_record(booked(), ending, 9000, "w", NoPrices()) is None


def test_what_is_read_when_the_record_may_be_archived_leaves_the_estimate() -> None:
    """The book could not know the record any more, and would charge a second one."""
    ending = Ending(how=How.ANSWERED, status=200, usage=STATED, finish_reason="completed")
    last_ms = booked().started_at_ms + CORRECTED_WITHIN_MS
    assert late_record(booked(), ending, last_ms, "w", NoPrices()) is not None
    assert late_record(booked(), ending, last_ms + 1, "w", NoPrices()) is None
    assert CORRECTED_WITHIN_MS + 86_400_000 <= OPEN_WINDOW_MS, "a day is left to book it"


@pytest.mark.parametrize("usage", [STATED, None])
def test_a_batch_that_is_over_takes_the_tier_of_batches(usage: Usage | None) -> None:
    late = batch_record(
        booked(), usage, model="m-2", status="expired", now_ms=9000, writer="w", pricing=NoPrices()
    )
    assert late is not None
    assert (late.service_tier, late.model_served, late.finish_reason) == ("batch", "m-2", "expired")
    counts = (late.input_tokens, late.output_tokens, late.outcome)
    assert counts == ((70, 30, "completed") if usage else (0, 0, "upstream_failed"))

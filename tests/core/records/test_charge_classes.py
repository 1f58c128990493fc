"""What a path's charge class makes of an exchange: each row is what happened -> what is booked."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.entries import Marked, Opened
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import Terms
from proxy.core.records.ending import Ending, How
from proxy.core.records.repricing import standing
from proxy.core.records.settlement import recovered, settle
from proxy.core.usage import ChargeClass, Outcome, Source, Usage, UsageRecord

FILES, SPEECH, RERANK = "/v1/files", "/v1/audio/speech", "/v1/rerank"
BOOK = PriceBook(
    Terms(
        currency="USD",
        timezone="UTC",
        rows=(
            PriceRow(model="*", currency="USD", input="1", output="2", request="5"),
            PriceRow(model=SPEECH, currency="USD", request="0.01"),
            PriceRow(model=RERANK, currency="USD", input="1", output="2"),
            PriceRow(model="/v1/plain", currency="USD", input="1"),
        ),
        fx={},
        discounts={},
        markups={},
    )
)
CENT = 10_000_000
TOTAL_ONLY = Usage(total_tokens=1_000_000)
BOTH = Usage(input_tokens=600_000, output_tokens=200_000, total_tokens=800_000)
ZEROS = Usage(input_tokens=0, output_tokens=0)


def opened(charge_class: str, model: str) -> Opened:
    return Opened(
        id="id",
        started_at_ms=1_000,
        key_id="alice",
        endpoint=model,
        upstream="vendor",
        model_requested=model,
        input_estimate=77,
        charge_class=ChargeClass(charge_class),
    )


def told(record: UsageRecord) -> tuple[object, ...]:
    return (
        record.input_tokens,
        record.output_tokens,
        str(record.source),
        record.cost_nano,
        record.reason,
    )


# class, path, how, status, usage -> input, output, source, cost, reason
ROWS = [
    ("free", FILES, How.ANSWERED, 200, None, (0, 0, "none", 0, "free")),
    ("free", FILES, How.ANSWERED, 404, None, (0, 0, "none", 0, "free")),
    ("free", FILES, How.NO_HEAD, None, None, (0, 0, "none", 0, "free")),
    ("free", FILES, How.CLIENT_LEFT, None, None, (0, 0, "none", 0, "free")),
    ("per_request", SPEECH, How.ANSWERED, 200, None, (0, 0, "none", CENT, "per_request")),
    ("per_request", SPEECH, How.CLIENT_LEFT, 200, None, (0, 0, "none", CENT, "per_request")),
    ("per_request", SPEECH, How.ANSWERED, 400, None, (0, 0, "none", 0, "per_request")),
    ("per_request", SPEECH, How.NO_HEAD, None, None, (0, 0, "none", 0, "per_request")),
    # a row without a fee says nothing of a request: not known is not free
    ("per_request", "/v1/plain", How.ANSWERED, 200, None, (0, 0, "none", None, "per_request")),
    ("metered", RERANK, How.ANSWERED, 200, TOTAL_ONLY,
     (1_000_000, 0, "reported", 100 * CENT, None)),
    ("metered", RERANK, How.ANSWERED, 200, BOTH, (600_000, 200_000, "reported", 100 * CENT, None)),
    ("metered", RERANK, How.ANSWERED, 200, None, (None, None, "none", None, "unmetered")),
    ("metered", RERANK, How.ANSWERED, 200, ZEROS, (None, None, "none", None, "unmetered")),
    ("metered", RERANK, How.CLIENT_LEFT, None, None, (None, None, "none", None, "unmetered")),
    ("metered", RERANK, How.ANSWERED, 429, None, (0, 0, "none", 0, None)),
    ("metered", RERANK, How.NO_HEAD, None, None, (0, 0, "none", 0, None)),
    ("later", FILES, How.ANSWERED, 200, None, (None, None, "none", None, "later")),
    ("later", RERANK, How.ANSWERED, 200, BOTH, (None, None, "none", None, "later")),
    ("later", FILES, How.CLIENT_LEFT, None, None, (None, None, "none", None, "later")),
]  # fmt: skip


@pytest.mark.parametrize(("charge_class", "model", "how", "status", "usage", "expected"), ROWS)
def test_a_row(
    charge_class: str,
    model: str,
    how: How,
    status: int | None,
    usage: Usage | None,
    expected: tuple[object, ...],
) -> None:
    ending = Ending(how=how, status=status, usage=usage, answered=True)
    record = settle(opened(charge_class, model), ending, "w", BOOK)
    assert told(record) == expected


@pytest.mark.parametrize(("charge_class", "model"), [("free", FILES), ("per_request", SPEECH)])
def test_pricing_a_record_anew_comes_to_the_same(charge_class: str, model: str) -> None:
    """By the book alone, from the record's columns; also with a correction behind it."""
    ending = Ending(how=How.ANSWERED, status=200, answered=True)
    record = settle(opened(charge_class, model), ending, "w", BOOK)
    assert BOOK.price_record(record).cost_nano == record.cost_nano
    correction = msgspec.structs.replace(
        record, id="2", kind="adjustment", adjusts="id", reason="rerate", cost_nano=0, charge_nano=0
    )
    assert BOOK.price_record(standing(record, [correction])).cost_nano == record.cost_nano


@pytest.mark.parametrize(
    ("charge_class", "model", "marks", "cost_nano", "reason"),
    [
        ("free", FILES, [], 0, "free"),
        ("per_request", SPEECH, [], 0, "per_request"),
        ("per_request", SPEECH, [Marked(id="id", status=200, final=True)], CENT, "per_request"),
        ("metered", RERANK, [], None, "unmetered"),
        (
            "metered",
            RERANK,
            [Marked(id="id", status=200, final=True, usage=BOTH)],
            100 * CENT,
            None,
        ),
    ],
)
def test_a_killed_process_leaves_the_same_classes(
    charge_class: str, model: str, marks: list[Marked], cost_nano: int | None, reason: str | None
) -> None:
    record = recovered(opened(charge_class, model), marks, "w", 5_000, BOOK)
    assert (record.cost_nano, record.reason, record.outcome) == (
        cost_nano,
        reason,
        Outcome.INTERRUPTED,
    )
    assert record.source in (Source.NONE, Source.REPORTED)

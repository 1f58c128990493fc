"""Batches that wait for their use to be told. (Through the proxy: scenarios/test_batches.py.)"""

from __future__ import annotations

import pytest

from proxy.core.dialects.batch import VendorsBatch
from proxy.core.entries import Opened
from proxy.core.records.ending import Ending, How
from proxy.core.usage import ChargeClass, Usage
from proxy.dataplane.batches import BATCHES_MAX, Batches, as_ordered
from tests.ledger.samples import make_record

USAGE = Usage(input_tokens=4, output_tokens=1)


def over(id: str) -> VendorsBatch:
    return VendorsBatch(id, "completed", USAGE)


def test_each_is_told_once_of_its_own_upstream() -> None:
    batches = Batches()
    made = make_record(1, upstream_request_id="batch_1 file-1", upstream="u")
    batches.begun([made, make_record(2, upstream_request_id=None)])
    assert len(batches) == 1
    assert batches.over("u", VendorsBatch("batch_1", "in_progress", USAGE)) is None
    assert batches.over("v", over("batch_1")) is None and batches.over("u", over("file-1")) is None
    assert batches.over("u", over("batch_1")) is made
    assert batches.over("u", over("batch_1")) is None


def test_the_oldest_are_forgotten_first() -> None:
    batches = Batches()
    batches.begun(
        make_record(1, upstream_request_id=f"b{number}", upstream="u")
        for number in range(BATCHES_MAX + 1)
    )
    assert len(batches) == BATCHES_MAX
    assert batches.over("u", over("b0")) is None and batches.over("u", over("b1")) is not None


@pytest.mark.parametrize(
    ("charge_class", "how", "status", "expected"),
    [
        ("free", How.ANSWERED, 200, "later"),
        ("metered", How.ANSWERED, 201, "later"),
        ("free", How.CLIENT_LEFT, None, "later"),  # it may have been made
        ("per_request", How.ANSWERED, 200, "per_request"),
        ("free", How.ANSWERED, 400, "free"),
        ("metered", How.NO_HEAD, None, "metered"),
    ],
)
def test_the_use_of_an_order_is_known_later_unless_it_is_refused_or_has_a_fee(
    charge_class: str, how: How, status: int | None, expected: str
) -> None:
    opened = Opened(
        id="id", started_at_ms=0, key_id="k", endpoint="/v1/batches", upstream="u",
        charge_class=ChargeClass(charge_class),
    )  # fmt: skip
    assert as_ordered(opened, Ending(how=how, status=status)).charge_class == expected

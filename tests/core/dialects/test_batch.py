"""A batch as its vendor tells of it."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.batch import VendorsBatch
from proxy.core.dialects.passthrough.meter import PassMeter
from proxy.core.usage import Usage

STATED = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9, "prompt_tokens": 0}


def read(members: object, *, makes: bool = True, metered: bool = True) -> PassMeter:
    meter = PassMeter(stream=False, makes=makes, metered=metered)
    meter.feed(json.dumps(members).encode())
    meter.end()
    return meter


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", ""])
def test_one_that_is_not_over_tells_nothing(status: str) -> None:
    assert not VendorsBatch("b", status, Usage(input_tokens=1, output_tokens=1)).tells_its_use


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled", "failed"])
def test_one_that_is_over_tells_what_it_used_if_it_says_so(status: str) -> None:
    assert VendorsBatch("b", status, Usage(input_tokens=1, output_tokens=1)).tells_its_use
    assert VendorsBatch("b", status).tells_its_use is (status == "failed")


def test_what_it_used_is_not_the_use_of_a_look_at_it() -> None:
    members = {"id": "b", "object": "batch", "status": "completed", "model": "m", "usage": STATED}
    meter = read(members)
    batch = meter.batch
    assert batch is not None and batch.usage is not None
    assert (batch.id, batch.status, batch.model) == ("b", "completed", "m")
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (7, 2)
    assert meter.usage is None and meter.response_id == "b"
    assert read(members, makes=False).batch is None


@pytest.mark.parametrize(
    "members",
    [
        {"id": "f", "object": "file"}, {"id": "b", "type": "message_batch"}, {"object": "batch"},
        {"id": 7, "object": "batch"}, {"id": "a b", "object": "batch"}, {"id": "b", "object": ["batch"]}, ["batch"],
    ],
)  # fmt: skip
def test_what_is_no_batch(members: object) -> None:
    assert read(members).batch is None


@pytest.mark.parametrize("usage", [None, [], "x", {}, {"input_tokens": -1}, {"input_tokens": "x"}])
def test_one_that_states_nothing_readable(usage: object) -> None:
    batch = read({"id": "b", "object": "batch", "status": 7, "model": "", "usage": usage}).batch
    assert batch == VendorsBatch("b", "", None, None)

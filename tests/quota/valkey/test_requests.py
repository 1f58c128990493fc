"""What a hold says of its request, and what is read from it."""

from __future__ import annotations

import json

import msgspec

from proxy.core.entries import Opened
from proxy.core.limits.decisions import Demand
from proxy.core.usage import ChargeClass
from proxy.quota.valkey.requests import output_of, read, told

ID = "0192f0c1-0000-7000-8000-000000000000"
FEW = Opened(
    ID,
    1_764_600_000_000,
    "alice",
    "research",
    endpoint="/v1/chat/completions",
    dialect="openai_chat",
    upstream="openai",
    model_requested="gpt-4o-mini",
    stream=True,
    bytes_in=5000,
    input_estimate=7,
)
MANY = msgspec.structs.replace(
    FEW,
    labels={"cost": "a"},
    end_user="ab" * 16,
    tags={"feature": "search"},
    upstream_account="main",
    client_retry_count=2,
    tier_asked="flex",
    images=3,
    charge_class=ChargeClass.PER_REQUEST,
    model_sent="gpt",
)


def demand(opened: Opened | None, **more: int) -> Demand:
    given = {"input_tokens": 7, "output_tokens": 90} | more
    return Demand(exchange_id=ID, started_at_ms=FEW.started_at_ms, opened=opened, **given)


def test_a_request_is_read_as_it_was_opened() -> None:
    for opened in (FEW, MANY):
        assert read(ID, told(demand(opened)).encode()) == opened
        assert read(f"{ID}+", told(demand(opened)).encode()) == opened
    print(len(told(demand(FEW))), "bytes")


def test_the_most_that_it_may_use_is_what_is_stored() -> None:
    bounded = demand(FEW, input_bound=40, output_bound=500)
    found = read(ID, told(bounded).encode())
    assert found is not None and found.input_estimate == 40
    assert (output_of(bounded), output_of(demand(FEW))) == (500, 90)
    assert output_of(demand(FEW, output_bound=10**30)) == 2**53


def test_what_nobody_stored_or_can_read_is_not_known() -> None:
    assert told(demand(None)) == ""
    for stored in (b"", b"{", b"[]", b'["x"]', b"[null]"):
        assert read(ID, stored) is None
    broken = msgspec.structs.replace(FEW, model_requested="\ud800")
    assert told(demand(broken)) == ""


def test_what_a_newer_version_stores_behind_is_passed_over() -> None:
    newer = [*json.loads(told(demand(MANY))), "new"]
    assert read(ID, json.dumps(newer).encode()) == MANY

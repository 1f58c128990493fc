"""Errors and limits in this API's words, as the official SDK reads them."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from proxy.core.dialects.anthropic_messages.refusals import error_body, error_event, limit_fields
from proxy.core.errors import ProxyError
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Scope, limit_of
from proxy.core.limits.state import LimitState


@pytest.mark.parametrize(
    ("status", "type"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error"), (403, "permission_error"),
        (404, "not_found_error"), (405, "not_found_error"), (413, "request_too_large"), (415, "invalid_request_error"),
        (429, "rate_limit_error"), (500, "api_error"), (502, "api_error"), (503, "overloaded_error"), (504, "timeout_error"),
    ],
)  # fmt: skip
def test_the_type_goes_by_the_status(status: int, type: str) -> None:
    error = ProxyError(status, "tokens", "our_code", "What to do.")
    error.request_id = "0193"
    assert json.loads(error_body(error)) == {
        "type": "error",
        "error": {"type": type, "message": "What to do.", "details": {"error_code": "our_code"}},
        "request_id": "0193",
    }


def test_an_event_has_its_name() -> None:
    error = ProxyError(429, "tokens", "rate_limit_exceeded", "Two\nlines.")
    event = error_event(error, MessageMeter(stream=True))
    assert event == b"event: error\ndata: " + error_body(error) + b"\n\n"


def test_each_unit_has_its_tightest_limit() -> None:
    def state(limit: str, used: int) -> LimitState:
        rule = limit_of(parse(limit), Scope.KEY, "alice")
        return LimitState(limit=rule, amount=100, used=used, remaining=100 - used, resets_at_ms=1_790_000_000_001)  # fmt: skip

    states = [
        state("100 requests/minute", 10),
        state("100 requests/day", 90),
        state("100 output_tokens/minute", 5),
        state("100 USD/day", 5),
    ]
    assert limit_fields(states, 0) == (
        ("anthropic-ratelimit-requests-limit", "100"),
        ("anthropic-ratelimit-requests-remaining", "10"),
        ("anthropic-ratelimit-requests-reset", "2026-09-21T14:13:21Z"),
        ("anthropic-ratelimit-output-tokens-limit", "100"),
        ("anthropic-ratelimit-output-tokens-remaining", "95"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-09-21T14:13:21Z"),
    )

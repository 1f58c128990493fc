"""One line for each request and each refusal, and nothing in it that a client wrote."""

from __future__ import annotations

import io
import json
import logging

import pytest

from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.dataplane.request_log import refusal_line, request_line
from proxy.server import logs

CANARY = "c4n4ry7"


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """`configure` is for the whole process: give it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
def json_lines():
    stream = io.StringIO()
    logs.configure("json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def record(outcome: Outcome) -> UsageRecord:
    return UsageRecord(
        id="id",
        writer="w0",
        started_at_ms=0,
        duration_ms=10,
        key_id="alice",
        endpoint="/v1/chat/completions",
        upstream="up",
        model_requested="m",
        status=200,
        outcome=outcome,
        end_user=CANARY,
        usage_raw={CANARY: 1},
        tags={"t": CANARY},
        input_source=Source.REPORTED,
        output_source=Source.REPORTED,
        source=Source.REPORTED,
        input_tokens=3,
    )


@pytest.mark.parametrize(
    ("requests", "lines"),
    [
        ("none", []),
        ("failed", [("warning", "client_closed"), ("error", "overloaded")]),
        ("all", [("info", "completed"), ("warning", "client_closed"), ("error", "overloaded")]),
    ],
)
def test_which_requests_get_a_line(json_lines, requests, lines):
    request_line(requests, record(Outcome.COMPLETED))
    request_line(requests, record(Outcome.CLIENT_CLOSED))
    refusal_line(
        requests, id="id", team=None, key_id="alice", status=503, code="overloaded", limit="l/1"
    )
    assert [
        (line["level"], line.get("outcome", line.get("code"))) for line in json_lines()
    ] == lines
    for line in json_lines():
        assert line["id"] == "id"
        assert line["key"] == "alice"
        assert CANARY not in str(line)

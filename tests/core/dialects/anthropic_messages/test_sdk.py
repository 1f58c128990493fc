"""The text that is counted is the text that the official client assembles, and our errors are
errors to it."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import httpx2
import pytest

from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from proxy.core.dialects.anthropic_messages.refusals import error_body, error_event
from proxy.core.errors import ProxyError
from tests.core.dialects.anthropic_messages.answers import (
    OVER,
    PING,
    SENTENCE,
    TOOL_AT_ONCE,
    T,
    block,
    called,
    delta,
    end,
    said,
    sse,
    start,
    stop,
    thought,
)

# The SDK takes seconds to import: at the first test, and in one process.
pytestmark = pytest.mark.xdist_group("anthropic SDK")
LAST = end(usage={"output_tokens": 50})
STREAMS = [
    [start(), PING, *said(T), LAST, OVER],
    [start(), *thought(SENTENCE), *said(T, 1), *called(2), LAST, OVER],
    [start(), block("text", text=SENTENCE), delta("text_delta", text=T), stop(), LAST, OVER],
    [start(), *called(), *called(1), LAST, OVER],
    [start(), TOOL_AT_ONCE, stop(), LAST, OVER],
]


@pytest.fixture
def anthropic() -> ModuleType:
    return pytest.importorskip("anthropic", reason="the official SDK is not installed")


def client(sdk: ModuleType, status: int, body: bytes, kind: str = "text/event-stream") -> Any:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return sdk.Anthropic(api_key="k", base_url="http://x.test", http_client=http, max_retries=0)  # fmt: skip


@pytest.mark.parametrize("events", STREAMS)
def test_the_text_is_what_the_official_client_assembles(
    anthropic: ModuleType, events: list[dict[str, object]]
) -> None:
    body = sse(*events)
    meter = MessageMeter(stream=True)
    meter.feed(body)
    meter.end()
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    with client(anthropic, 200, body).messages.stream(**asked) as stream:
        whole = stream.get_final_message()
    texts = [getattr(one, "text", None) or getattr(one, "thinking", None) or "" for one in whole.content]  # fmt: skip
    calls = [one for one in whole.content if one.type == "tool_use"]
    names = [one.name for one in calls]
    inputs = sum(len(json.dumps(one.input, separators=(",", ":"))) for one in calls)
    if TOOL_AT_ONCE in events:
        inputs += 1  # as it was laid out
    assert meter.text_bytes == len("".join(texts + names).encode()) + inputs
    assert meter.usage is not None and whole.usage.output_tokens == meter.usage.output_tokens == 50


def test_an_error_in_a_stream_is_raised_with_its_words(anthropic: ModuleType) -> None:
    error = ProxyError(429, "insufficient_quota", "insufficient_quota", "The budget is used up.")
    body = sse(start(), *said(T)[:-1]) + error_event(error, MessageMeter(stream=True))
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    with (
        pytest.raises(anthropic.APIStatusError, match="The budget is used up"),
        client(anthropic, 200, body).messages.stream(**asked) as stream,
    ):
        stream.until_done()


def test_an_error_as_an_answer_is_raised_as_its_class(anthropic: ModuleType) -> None:
    body = error_body(ProxyError(401, "invalid_request_error", "invalid_api_key", "No."))
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client(anthropic, 401, body, "application/json").models.list()
    assert raised.value.body["error"]["details"]["error_code"] == "invalid_api_key"

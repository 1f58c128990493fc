"""A stream that is cut ends with a failed response and an error that the SDKs raise."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest

from proxy.core.dialects.openai_responses.meter import ResponseMeter
from proxy.core.dialects.openai_responses.refusals import error_event
from proxy.core.errors import ProxyError
from tests.core.dialects.openai_responses.answers import BEGIN, T, deltas, sse

ERROR = ProxyError(429, "insufficient_quota", "insufficient_quota", "The day's budget is used up.")


def told() -> tuple[bytes, bytes]:
    stream = sse(*BEGIN, *deltas("output_text", T))
    meter = ResponseMeter(stream=True)
    meter.feed(stream)
    return stream, error_event(ERROR, meter)


def test_the_events_go_on_in_the_stream_that_they_end() -> None:
    stream, event = told()
    count = stream.count(b"data: ")
    failed, last = (
        json.loads(part.partition(b"data: ")[2]) for part in event.strip().split(b"\n\n")
    )
    assert event.startswith(b"event: response.failed\n") and b"event: error\n" in event
    assert (failed["sequence_number"], last["sequence_number"]) == (count, count + 1)
    assert failed["response"]["id"] == "resp_1" and failed["response"]["model"] == "m-2026"
    assert failed["response"]["error"]["code"] == last["error"]["type"] == "insufficient_quota"


def test_the_official_client_raises() -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, content=b"".join(told())
        )

    http = openai.DefaultHttpxClient(transport=httpx2.MockTransport(answer))
    client = openai.OpenAI(api_key="k", base_url="http://upstream.test/v1", http_client=http)
    with pytest.raises(openai.APIError, match="used up"):
        list(client.responses.create(model="m", input="x", stream=True))

"""The scripted Messages API: what the official client reads of it, and what it says was used."""

from __future__ import annotations

import json

import httpx2
import pytest

from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from proxy.scripted_upstream import Fault, expected

TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}
SAID = [{"role": "user", "content": "Where does the ferry go?"}]
BLOCKS = [
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}]},
]
SEEN = [
    {"model": "demo-chat", "max_tokens": 500, "messages": SAID},
    {"model": "demo-chat", "max_tokens": 500, "messages": BLOCKS, "system": "Be kind."},
    {"model": "demo-tools", "max_tokens": 500, "messages": SAID, "tools": [TOOL]},
    {"model": "demo-reasoning", "max_tokens": 500, "messages": SAID},
    {"model": "demo-long:40", "max_tokens": 3, "messages": SAID},
]


@pytest.mark.xdist_group("anthropic SDK")
@pytest.mark.parametrize("asked", SEEN)
def test_the_official_client_reads_the_same_streamed_and_whole(asked: dict[str, object]) -> None:
    anthropic = pytest.importorskip("anthropic", reason="the official SDK is not installed")

    def answer(request: httpx2.Request) -> httpx2.Response:
        scripted = expected(request.content, "messages")
        headers = dict(scripted.headers)
        return httpx2.Response(scripted.status, headers=headers, content=scripted.body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = anthropic.Anthropic(api_key="k", base_url="http://x.test", http_client=http)
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    one, other = (
        message.model_dump(include={"stop_reason", "model", "role"})
        for message in (whole, streamed)
    )
    assert one == other
    assert [block.type for block in whole.content] == [block.type for block in streamed.content]
    assert whole.usage.output_tokens == streamed.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", SEEN)
def test_what_is_stated_is_what_was_said(asked: dict[str, object], stream: bool) -> None:
    scripted = expected(json.dumps({**asked, "stream": stream}).encode(), "messages")
    meter = MessageMeter(stream=stream)
    meter.feed(scripted.body)
    meter.end()
    stated = scripted.usage
    assert stated is not None and meter.usage is not None
    assert meter.usage.output_tokens == stated["output_tokens"]
    assert meter.usage_final and not meter.error
    if stream and asked["model"] != "demo-tools":
        assert meter.text_bytes == len(scripted.texts[0].encode())


def test_faults_are_those_of_chats() -> None:
    body = {"model": "demo-cut:4", "max_tokens": 50, "messages": SAID, "stream": True}
    cut = expected(json.dumps(body).encode(), "messages")
    assert cut.ending is not Fault.NONE and len(cut.events) == 4
    failed = expected(json.dumps(body | {"model": "demo-error-event:5"}).encode(), "messages")
    assert failed.events[-1].startswith(b"event: error\n")
    silent = expected(json.dumps(body | {"model": "demo-silent"}).encode(), "messages")
    assert silent.usage is None and b'"usage"' not in silent.body


@pytest.mark.parametrize("body", [b"{", b'{"model": "demo-chat", "messages": []}'])
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    assert expected(body, "messages").status == 400

"""The scripted Responses API: what the official client reads of it, and what it says was used."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest

from proxy.core.dialects.openai_responses.meter import ResponseMeter
from proxy.scripted_upstream import Fault, expected, pieces

TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
SEEN = [
    {"model": "demo-chat", "input": "Where does the ferry go?"},
    {"model": "demo-chat", "instructions": "Be kind.", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello there."}]}]},
    {"model": "demo-tools", "input": "Weather?", "tools": [TOOL]},
    {"model": "demo-reasoning", "input": "Think."},
    {"model": "demo-chat", "input": "Many words are said here and there", "max_output_tokens": 3},
    {"model": "demo-chat", "input": [{"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
                                     {"type": "function_call_output", "call_id": "c", "output": "sunny"}]},
    {"model": "demo-substitute", "input": "x", "service_tier": "flex", "reasoning": {"effort": "low"}},
]  # fmt: skip


def client_for(body: bytes) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        scripted = expected(request.content, "responses")
        return httpx2.Response(
            scripted.status, headers=dict(scripted.headers), content=scripted.body
        )

    http = openai.DefaultHttpxClient(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://upstream.test/v1", http_client=http)


@pytest.mark.parametrize("asked", SEEN)
def test_the_official_client_reads_the_same_streamed_and_whole(asked: dict[str, object]) -> None:
    client = client_for(b"")
    whole = client.responses.create(**asked)  # type: ignore[call-overload]
    with client.responses.stream(**asked) as stream:  # type: ignore[arg-type]
        events = list(stream)
    last = events[-1].response.model_dump(mode="json", exclude={"id"})  # type: ignore[union-attr]
    assert last["status"] in ("completed", "incomplete")
    plain = whole.model_dump(mode="json", exclude={"id"})
    assert plain["usage"] == last["usage"]
    assert len(plain["output"]) == len(last["output"])
    numbers = [event.sequence_number for event in client.responses.create(**asked, stream=True)]  # type: ignore[call-overload]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", SEEN)
def test_what_is_stated_is_what_was_said(asked: dict[str, object], stream: bool) -> None:
    answer = expected(json.dumps(asked | {"stream": stream}).encode(), "responses")
    meter = ResponseMeter(stream=stream, text_bytes_max=None)
    for event in answer.events:
        meter.feed(event)
    meter.end()
    assert answer.usage is not None and meter.usage is not None
    assert meter.usage.output_tokens == answer.usage["output_tokens"]
    assert not meter.error and meter.answered and meter.complete is stream
    if stream and "tools" not in asked:
        said = meter.texts
        assert said is not None
        said.finish()
        assert len(pieces("".join(said.blocks))) <= meter.usage.output_tokens  # type: ignore[operator]


def test_a_silent_model_states_nothing_and_faults_break_off() -> None:
    body = {"model": "demo-silent", "input": "Say it.", "stream": True}
    assert expected(json.dumps(body).encode(), "responses").usage is None
    broken = expected(json.dumps(body | {"model": "demo-error-event:4"}).encode(), "responses")
    assert broken.events[-1].startswith(b"event: error\n") and len(broken.events) == 5
    assert (
        expected(json.dumps(body | {"model": "demo-cut:4"}).encode(), "responses").ending
        is Fault.RESET
    )
    assert expected(b'{"model":"demo-chat"}', "responses").status == 400

"""Each wire does what the others do: the matrix of docs/wires.md, a cell a test, through the real
proxy."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.core.dialects.registry import DIALECTS
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import KEY, Running, config, running
from tests.support.waiting import guard

PAGE = Path(__file__).parents[2] / "docs" / "wires.md"
T = "The ferry leaves at nine. "
IN, CACHED, OUT, THOUGHT = 700, 300, 90, 40
Event = dict[str, object]


@dataclass(frozen=True)
class Wire:
    """A wire in its own words. `events`: of a stream that says T so often, a call if `calls`,
    and the usage if `states`."""

    path: str
    prompt: Callable[[str], Event]
    cap: str
    usage: Event
    whole: Callable[[str, Event | None], Event]
    events: Callable[[int, bool, bool], list[Event | str]]
    named: bool
    error: Callable[[Event], object]

    def body(self, **more: object) -> bytes:
        return json.dumps({"model": "m", **self.prompt("Where?"), **more}).encode()

    def stream(self, count: int = 3, *, calls: bool = False, states: bool = True) -> list[bytes]:
        found = []
        for event in self.events(count, calls, states):
            data = event if isinstance(event, str) else json.dumps(event)
            name = f"event: {event['type']}\n" if self.named and not isinstance(event, str) else ""
            found.append(f"{name}data: {data}\n\n".encode())
        return found


def chat_events(count: int, calls: bool, states: bool) -> list[Event | str]:
    call = {"index": 0, "id": "c", "function": {"name": "look_up", "arguments": T}}
    delta: Event = {"tool_calls": [call]} if calls else {"content": T}
    events: list[Event | str] = [
        {"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta}]} for _ in range(count)
    ]
    events.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if states:
        events.append({"id": "x", "choices": [], "usage": CHAT.usage})
    return [*events, "[DONE]"]


def response_events(count: int, calls: bool, states: bool) -> list[Event | str]:
    kind = "function_call_arguments" if calls else "output_text"
    item = {"type": "function_call", "name": "look_up"} if calls else {"type": "message"}
    events: list[Event | str] = [
        {
            "type": "response.created",
            "response": {
                "id": "resp_1",
                "object": "response",
                "status": "in_progress",
                "usage": None,
            },
        },
        {"type": "response.output_item.added", "output_index": 0, "item": item},
    ]
    events += [
        {"type": f"response.{kind}.delta", "output_index": 0, "delta": T} for _ in range(count)
    ]
    last = RESPONSES.whole("", RESPONSES.usage if states else None) | {"output": []}
    return [*events, {"type": "response.completed", "response": last}]


def message_events(count: int, calls: bool, states: bool) -> list[Event | str]:
    usage = (
        {**MESSAGES.usage, "output_tokens": 1, "output_tokens_details": None}
        if states
        else {"input_tokens": 0, "output_tokens": 0}
    )
    start = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "usage": usage,
    }
    block = (
        {"type": "tool_use", "id": "t", "name": "look_up", "input": {}}
        if calls
        else {"type": "text", "text": ""}
    )
    delta = (
        {"type": "input_json_delta", "partial_json": T}
        if calls
        else {"type": "text_delta", "text": T}
    )
    events: list[Event | str] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
    ]
    events += [{"type": "content_block_delta", "index": 0, "delta": delta} for _ in range(count)]
    final = MESSAGES.usage if states else {"output_tokens": 0}
    events.append({"type": "content_block_stop", "index": 0})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": final})
    return [*events, {"type": "message_stop"}]


CHAT = Wire(
    "/v1/chat/completions", lambda text: {"messages": [{"role": "user", "content": text}]}, "max_tokens",
    {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT, "prompt_tokens_details": {"cached_tokens": CACHED},
     "completion_tokens_details": {"reasoning_tokens": THOUGHT}},
    lambda text, usage: {"id": "x", "model": "m", "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}], "usage": usage},
    chat_events, False, lambda told: told["error"]["type"],  # type: ignore[index]
)  # fmt: skip
RESPONSES = Wire(
    "/v1/responses", lambda text: {"input": text}, "max_output_tokens",
    {"input_tokens": IN, "output_tokens": OUT, "total_tokens": IN + OUT, "input_tokens_details": {"cached_tokens": CACHED},
     "output_tokens_details": {"reasoning_tokens": THOUGHT}},
    lambda text, usage: {"id": "resp_1", "object": "response", "status": "completed", "error": None, "model": "m",
                         "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}], "usage": usage},
    response_events, True, lambda told: told["error"]["type"],  # type: ignore[index]
)  # fmt: skip
MESSAGES = Wire(
    "/v1/messages", lambda text: {"messages": [{"role": "user", "content": text}]}, "max_tokens",
    {"input_tokens": IN - CACHED, "cache_read_input_tokens": CACHED, "cache_creation_input_tokens": 0, "output_tokens": OUT,
     "output_tokens_details": {"thinking_tokens": THOUGHT}},
    lambda text, usage: {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}],
                         "stop_reason": "end_turn", "usage": usage or {"input_tokens": 0, "output_tokens": 0}},
    message_events, True, lambda told: (told["type"], told["error"]["type"]),  # type: ignore[index]
)  # fmt: skip
WIRES = {"openai_chat": CHAT, "openai_responses": RESPONSES, "anthropic_messages": MESSAGES}
ASPECTS = (
    "JSON",
    "stream",
    "tools",
    "reasoning",
    "cached",
    "error",
    "cut",
    "left",
    "inject",
    "strict",
)
EACH = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)


def settings(url: str, limit: object = None, **upstream: object) -> dict[str, object]:
    apis = ["chat", "completions", "embeddings", "responses", "messages"]
    mock = {"base_url": url, "api_key": "sk-upstream", "apis": apis, **upstream}
    alice: dict[str, object] = {"team": "research", "secret": KEY}
    if limit is not None:
        alice["limits"] = [limit]
    return config(url, upstreams={"mock": mock}, keys={"alice": alice})


async def ask(proxy: Running, wire: Wire, body: bytes, key: str = KEY) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    try:
        await client.post(body, path=wire.path, key=key)
        return await client.answer()
    finally:
        await client.aclose()


async def served(
    directory: Path, wire: Wire, answer: Event | list[bytes], body: bytes
) -> tuple[RawAnswer, dict[str, object]]:
    """The answer and the record of one request."""

    async def script(visit: Visit) -> None:
        if isinstance(answer, list):
            await visit.stream(*answer)
        else:
            await visit.answer(json.dumps(answer).encode())

    async with (
        raw_upstream(script) as upstream,
        running(directory, settings(upstream.url)) as proxy,
    ):
        got = await ask(proxy, wire, body)
        (row,) = await proxy.records(1)
    return got, row


@EACH
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_passes_and_is_booked_with_all_its_parts(
    tmp_path: Path, wire: Wire, stream: bool
) -> None:
    answer = wire.stream() if stream else wire.whole(T * 3, wire.usage)
    got, row = await served(tmp_path, wire, answer, wire.body(stream=stream, **{wire.cap: 500}))
    sent = b"".join(answer) if isinstance(answer, list) else json.dumps(answer).encode()
    assert got.body == sent and got.whole
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (IN, CACHED, OUT)
    assert (row["reasoning_tokens"], row["source"], row["outcome"]) == (
        THOUGHT,
        "reported",
        "completed",
    )


@EACH
async def test_a_call_of_a_tool_is_text_where_nothing_is_stated(tmp_path: Path, wire: Wire) -> None:
    got, row = await served(
        tmp_path,
        wire,
        wire.stream(3, calls=True, states=False),
        wire.body(stream=True, **{wire.cap: 500}),
    )
    assert b"look_up" in got.body
    tokens = 3 * len(T) // 4
    assert row["source"] == "estimated" and tokens <= row["output_tokens"] <= tokens + 10  # type: ignore[operator]


@EACH
async def test_errors_are_told_in_its_shape_and_the_vendors_pass(
    tmp_path: Path, wire: Wire
) -> None:
    theirs = b'{"error":{"message":"theirs"}}'

    async def script(visit: Visit) -> None:
        await visit.answer(theirs, status="400 Bad Request")

    async with raw_upstream(script) as upstream, running(tmp_path, settings(upstream.url)) as proxy:
        assert (await ask(proxy, wire, wire.body(**{wire.cap: 5}))).body == theirs
        ours = await ask(proxy, wire, wire.body(**{wire.cap: 5}), key="sk-nobody")
        assert ours.status == 401 and wire.error(json.loads(ours.body))
        (row,) = await proxy.records(1)
    assert (row["outcome"], row["input_tokens"], row["source"]) == ("rejected_upstream", 0, "none")


@EACH
async def test_a_limit_cuts_it_with_its_own_last_event(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(end=False)
        for event in wire.stream(900):
            await visit.send(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(0)  # so that no chunk holds much of it
        await visit.reader.read()

    limit = {"limit": "3000 tokens/day", "enforce": "cut"}
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url, limit)) as proxy,
        guard(),
    ):
        got = await ask(proxy, wire, wire.body(stream=True, **{wire.cap: 100_000}))
        (row,) = await proxy.records(1)
    last = json.loads(got.body.rstrip().rpartition(b"data: ")[2])
    assert got.whole and wire.error(last)
    assert row["outcome"] == "cut" and 1000 < row["output_tokens"] < 4000  # type: ignore[operator]


@EACH
async def test_who_leaves_is_charged_for_what_was_delivered(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(*wire.stream(8)[:7], end=False)
        await visit.reader.read()

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url)) as proxy,
        guard(),
    ):
        client = await RawClient.connect(proxy.address)
        await client.post(wire.body(stream=True, **{wire.cap: 500}), path=wire.path)
        await client.head()
        received = b""
        while received.count(b"\n\n") < 7:
            received += await client.chunk()
        client.leave()
        (row,) = await proxy.records(1)
    assert (row["outcome"], row["output_source"]) == ("client_closed", "partial")
    assert row["output_tokens"] == -(-received.count(T.encode()) * len(T) // 4)


@EACH
async def test_injection_leaves_what_the_client_gets(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(*wire.stream())

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url, stream_usage="inject")) as proxy,
    ):
        got = await ask(proxy, wire, body := wire.body(stream=True, **{wire.cap: 500}))
        (row,) = await proxy.records(1)
        asked = upstream.visits[0].body != body
    assert (row["output_tokens"], row["source"]) == (OUT, "reported")
    assert asked is (wire is CHAT), "only a chat's stream has to be asked"
    unasked = [event for event in wire.stream() if not (asked and b'"usage"' in event)]
    assert got.body == b"".join(unasked)


@EACH
async def test_a_strict_limit_admits_what_is_bounded(tmp_path: Path, wire: Wire) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(json.dumps(wire.whole(T, wire.usage)).encode())

    limit = {"limit": "5000 tokens/day", "enforce": "strict"}
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url, limit)) as proxy,
    ):
        refused = await ask(proxy, wire, wire.body())
        assert (refused.status, b"not_boundable" in refused.body) == (400, True)
        assert (await ask(proxy, wire, wire.body(**{wire.cap: 200}))).status == 200
        assert (await ask(proxy, wire, wire.body(**{wire.cap: 6000}))).status == 429
        assert len(upstream.visits) == 1


def test_the_page_has_each_cell() -> None:
    rows = re.findall(r"^\| (.+?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    table = {
        name: cells.split(" | ")
        for name, cells in rows
        if name == "wire" or name.strip("`") in WIRES
    }
    assert set(WIRES) == {dialect.name for dialect in DIALECTS}
    assert tuple(table["wire"]) == ASPECTS
    for name, wire in WIRES.items():
        assert table[f"`{name}`"] == [
            "yes" if aspect != "inject" or wire is CHAT else "not needed" for aspect in ASPECTS
        ]

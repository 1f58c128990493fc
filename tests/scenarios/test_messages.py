"""Anthropic's API through the real proxy: credentials, what is free, what an upstream serves, lists
of models, and the official SDK."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest

from tests.core.dialects.anthropic_messages.answers import (
    OVER,
    PING,
    START,
    T,
    called,
    end,
    message,
    said,
    sse,
    start,
)
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import KEY, Running, config, running

MESSAGES = "/v1/messages"
BODY = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
STREAM = sse(start(), PING, *said(T), *called(1), end("tool_use", {"output_tokens": 60}), OVER)
PRICE = {
    "model": "m", "input": "3", "cached": "0.3", "cache_write": "3.75", "cache_write_long": "6", "output": "15",
    "search": "0.01", "request": "0.5",
}  # fmt: skip


def settings(url: str, **upstream: object) -> dict[str, object]:
    vendor = {"base_url": url, "api_key": "sk-vendor", "credential": "x-api-key", "apis": ["messages"]}  # fmt: skip
    return config(url, upstreams={"mock": vendor | upstream}, prices=[PRICE])


async def ask(proxy: Running, head: bytes, body: bytes = b"") -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    try:
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        await client.send(head + b"Host: x\r\nanthropic-version: 2023-06-01\r\n" + length + b"\r\n" + body)  # fmt: skip
        return await client.answer()
    finally:
        await client.aclose()


def post(path: str = MESSAGES, credential: str = f"x-api-key: {KEY}") -> bytes:
    return f"POST {path} HTTP/1.1\r\n{credential}\r\nContent-Type: application/json\r\n".encode()


async def test_the_vendor_gets_its_key_as_it_takes_it_and_the_rest_as_it_came(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(message({"type": "text", "text": T}), headers=("request-id: req_7",))

    async with raw_upstream(script) as upstream, running(tmp_path, settings(upstream.url)) as proxy:
        head = post(f"{MESSAGES}?beta=true") + b"anthropic-beta: a-2026,b-2026\r\nx-app: cli\r\n"
        answer = await ask(proxy, head, json.dumps(BODY).encode())
        assert answer.status == 200 and answer.header("request-id") == b"req_7"
        (row,) = await proxy.records(1)
    (visit,) = upstream.visits
    assert visit.lines[0] == b"POST /v1/messages?beta=true HTTP/1.1"
    assert visit.header("x-api-key") == b"sk-vendor" and visit.header("authorization") is None
    assert visit.header("anthropic-version") == b"2023-06-01"
    assert visit.header("anthropic-beta") == b"a-2026,b-2026" and visit.header("x-app") == b"cli"
    assert (row["dialect"], row["upstream_request_id"]) == ("anthropic_messages", "req_7")
    assert (row["cache_write_tokens"], row["cache_write_long_tokens"]) == (100, 60)
    tokens = 12 * 3000 + 588 * 300 + 40 * 3750 + 60 * 6000 + 50 * 15_000
    assert row["cost_nano"] == tokens + 500_000_000


async def test_searches_have_a_price_of_their_own(tmp_path: Path) -> None:
    usage = {"input_tokens": 10, "output_tokens": 1, "server_tool_use": {"web_search_requests": 3}}

    async def script(visit: Visit) -> None:
        await visit.answer(message(usage=usage))

    async with raw_upstream(script) as upstream, running(tmp_path, settings(upstream.url)) as proxy:
        await ask(proxy, post(), json.dumps(BODY).encode())
        (row,) = await proxy.records(1)
    assert (row["searches"], row["cost_nano"]) == (3, 10 * 3000 + 15_000 + 30_000_000 + 500_000_000)


async def test_counting_tokens_is_a_request_and_free(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"input_tokens": 611}')

    limits = {"limits": ["2 requests/day", "1000 tokens/day"]}
    keys = {"alice": {"team": "research", "secret": KEY, **limits}}
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, settings(upstream.url) | {"keys": keys}) as proxy,
    ):
        body = json.dumps({**BODY, "messages": [{"role": "user", "content": T * 60}]}).encode()
        answers = [await ask(proxy, post(f"{MESSAGES}/count_tokens"), body) for _ in range(3)]
        rows = await proxy.records(2)
        metrics = await asyncio.to_thread(_page, proxy)
    assert [answer.status for answer in answers] == [200, 200, 429]
    told = json.loads(answers[2].body)
    assert told["error"]["type"] == "rate_limit_error" and told["request_id"]
    assert answers[2].header("anthropic-ratelimit-requests-remaining") == b"0"
    assert answers[2].header("request-id") == told["request_id"].encode()
    for row in rows:
        assert (row["input_tokens"], row["output_tokens"], row["cost_nano"]) == (0, 0, 0)
        assert (row["source"], row["outcome"]) == ("none", "completed")
    assert 'kind="no_answer"' not in metrics, "it is no fault of the vendor's"


async def test_what_an_upstream_does_not_serve_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, settings("http://127.0.0.1:9", apis=["chat"])) as proxy:
        answer = await ask(proxy, post(), json.dumps(BODY).encode())
    told = json.loads(answer.body)
    assert (answer.status, told["error"]["details"]["error_code"]) == (404, "api_not_served")
    assert "add `messages` to `upstreams.mock.apis`" in told["error"]["message"]


@pytest.mark.parametrize("credential", ["", "x-api-key: sk-nobody"])
async def test_a_stranger_is_told_in_this_apis_shape(tmp_path: Path, credential: str) -> None:
    async with running(tmp_path, settings("http://127.0.0.1:9")) as proxy:
        for head in (post(credential=credential or "x-a: b"), f"GET /v1/models HTTP/1.1\r\n{credential or 'x-a: b'}\r\n".encode()):  # fmt: skip
            answer = await ask(proxy, head, b"{}" if head.startswith(b"POST") else b"")
            assert answer.status == 401
            assert json.loads(answer.body)["error"]["type"] == "authentication_error"


async def test_models_of_several_vendors_are_one_list_in_this_apis_shape(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        asked = visit.lines[0].split()[1]
        if asked == b"/v1/models?limit=1000":
            assert visit.header("anthropic-version") == b"2023-06-01"
            entry = {"type": "model", "id": "c-x", "display_name": "C X", "created_at": "2026-01-01T00:00:00Z"}  # fmt: skip
            await visit.answer(json.dumps({"data": [entry], "has_more": False}).encode())
        else:
            await visit.answer(b'{"object": "list", "data": [{"id": "g-x", "created": 1790000000}]}')  # fmt: skip

    async with raw_upstream(script) as upstream:
        both = settings(upstream.url)
        both["upstreams"]["other"] = {"base_url": upstream.url, "api_key": "sk-o"}  # type: ignore[index]
        both["routes"] = [{"model": "c-*", "upstream": "mock"}, {"model": "*", "upstream": "other"}]
        async with running(tmp_path, both) as proxy:
            answer = await ask(proxy, f"GET /v1/models?limit=1000 HTTP/1.1\r\nx-api-key: {KEY}\r\n".encode())  # fmt: skip
    listed = json.loads(answer.body)
    assert [(entry["id"], entry["display_name"]) for entry in listed["data"]] == [("c-x", "C X"), ("g-x", "g-x")]  # fmt: skip
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "c-x", "g-x")


async def test_leaving_behind_any_event_is_charged_for_what_came(tmp_path: Path) -> None:
    events = [start(), PING, *said(T), end(usage={"output_tokens": 50}), OVER]

    async def script(visit: Visit) -> None:
        await visit.stream(*[sse(event) for event in events[: len(upstream.visits)]], end=False)
        await visit.reader.read()

    async with raw_upstream(script) as upstream, running(tmp_path, settings(upstream.url)) as proxy:
        for count in range(1, len(events) + 1):
            client = await RawClient.connect(proxy.address)
            await client.post(json.dumps({**BODY, "stream": True}).encode(), path=MESSAGES)
            await client.head()
            received = b""
            while received.count(b"\n\n") < count:
                received += await client.chunk()
            client.leave()
            row = (await proxy.records(count))[-1]
            assert (row["input_tokens"], row["input_source"]) == (700, "reported")
            text = sum(len(str(e["delta"]["text"])) for e in events[:count] if e["type"] == "content_block_delta")  # type: ignore[index]  # fmt: skip
            if count >= len(events) - 1:
                assert (row["output_tokens"], row["outcome"]) == (50, "completed")
            else:
                stated = START["output_tokens"]
                assert row["outcome"] == "client_closed" and row["output_source"] == "partial"
                assert row["output_tokens"] == max(-(-text // 4), stated)


@pytest.mark.xdist_group("anthropic SDK")
async def test_the_official_client_gets_the_same_with_and_without_the_proxy(tmp_path: Path) -> None:
    anthropic = pytest.importorskip("anthropic", reason="the official SDK is not installed")

    async def script(visit: Visit) -> None:
        if b'"stream":true' in visit.body.replace(b" ", b""):
            await visit.stream(STREAM[:40], STREAM[40:333], STREAM[333:])
        else:
            await visit.answer(message({"type": "text", "text": T}))

    async def both(url: str, key: str) -> list[object]:
        async with anthropic.AsyncAnthropic(api_key=key, base_url=url, max_retries=0) as client:
            whole = await client.messages.create(**BODY)
            async with client.messages.stream(**BODY) as stream:
                events = [event.type async for event in stream]
                final = await stream.get_final_message()
            return [whole.model_dump(), events, final.model_dump()]

    async with raw_upstream(script) as upstream, running(tmp_path, settings(upstream.url)) as proxy:
        direct = await both(upstream.url.removesuffix("/v1"), "sk-direct")
        proxied = await both(f"http://{proxy.address}", KEY)
        rows = await proxy.records(2)
        with pytest.raises(anthropic.AuthenticationError, match="not known here"):
            await both(f"http://{proxy.address}", "sk-nobody")
    assert proxied == direct
    assert [(row["input_tokens"], row["output_tokens"]) for row in rows] == [(700, 50), (700, 60)]
    assert [row["finish_reason"] for row in rows] == ["end_turn", "tool_use"]


def _page(proxy: Running) -> str:
    with urllib.request.urlopen(proxy.metrics_url) as answer:
        return str(answer.read().decode())

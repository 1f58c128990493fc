"""What is no answer, through real HTTP: whatever comes under status 200 and holds none is charged
nothing and takes nothing of a limit."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running

JSON, EVENTS, HTML, TEXT = (
    "application/json",
    "text/event-stream",
    "text/html; charset=utf-8",
    "text/plain",
)
ROLE = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"
PAGE = (
    b"<!DOCTYPE html><html><body>"
    + b"<p>We look at your browser first.</p>" * 40
    + b"</body></html>"
)
ZEROS = b'"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'
# What came -> content type, body, whether it shows by itself that it is no answer: then a client
# that leaves is not charged for it either.
NONE: dict[str, tuple[str, bytes, bool]] = {
    "error": (JSON, b'{"error":{"message":"The balance is used up","code":402}}', True),
    "error-with-zeros": (JSON, b'{"error":{"message":"m"},' + ZEROS + b"}", True),
    "code": (JSON, b'{"code":20012,"message":"There is no such model.","data":null}', True),
    "null-choices": (
        JSON,
        b'{"id":"x","choices":null,"usage":{"total_tokens":0},"base_resp":{"status_code":1008}}',
        True,
    ),
    "zeros": (JSON, b'{"id":"x","object":"chat.completion","model":"m",' + ZEROS + b"}", True),
    "null": (JSON, b"null", True),
    "object": (JSON, b"{}", True),
    "list": (JSON, b"[]", True),
    "page": (HTML, PAGE, True),
    "text": (TEXT, b"Service temporarily unavailable. Please try again later.", True),
    "error-event": (EVENTS, b'data: {"error":{"message":"No quota left"}}\n\n', True),
    "named-error-event": (EVENTS, b'event: error\ndata: {"message":"Overloaded"}\n\n', True),
    "empty": (EVENTS, b"", False),
    "white-space": (JSON, b"\n\n  \n", False),
    "role": (EVENTS, ROLE, False),
    "role-and-done": (EVENTS, ROLE + DONE, True),
    "comments": (EVENTS, b": PROCESSING\n\n" * 3, False),
    "done": (EVENTS, DONE, True),
    "cut-short": (JSON, b'{"id":"x","object":"chat.completion","created":1,"mod', False),
}
ERROR_EVENTS = {"error-event", "named-error-event"}
CASES = [
    (name, end, stream)
    for name in NONE
    for end in ("whole", "reset", "left")
    for stream in (False, True)
]
BLOCKS = {
    "prices": [{"model": "*", "input": "1", "output": "10", "request": "0.005"}],
    "keys": {
        "alice": {
            "team": "research",
            "secret": "sk-test",
            "limits": ["20000 tokens/day", "9 USD/day"],
        }
    },
}


async def scripted(visit: Visit) -> None:
    """Sends what the model's name says, and ends as it says."""
    name, _, end = json.loads(visit.body)["model"].partition("/")
    content_type, body, _ = NONE[name]
    if end == "whole":
        await visit.answer(body, headers=(f"Content-Type: {content_type}",))
        return
    await visit.send(
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body) + 99}\r\n\r\n".encode()
        + body
    )
    if end == "reset":
        visit.reset()
    else:
        await visit.reader.read()  # the proxy leaves once its client has


async def ask(proxy: Running, name: str, end: str, stream: bool) -> None:
    body = json.dumps(
        {
            "model": f"{name}/{end}",
            "stream": stream,
            "messages": [{"role": "user", "content": "How is the tide? " * 20}],
        }
    ).encode()
    client = await RawClient.connect(proxy.address)
    await client.post(body)
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        if end == "left":
            await client.reader.readuntil(b"\r\n\r\n")
            await client.reader.readexactly(len(NONE[name][1]))
        else:
            await client.answer()
    await client.aclose()


async def series(proxy: Running, name: str, label: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(proxy.metrics_url) as answer:
        page = await answer.text()
    samples = itertools.chain.from_iterable(
        family.samples for family in text_string_to_metric_families(page)
    )
    return {sample.labels[label]: sample.value for sample in samples if sample.name == name}


async def test_what_is_no_answer_is_charged_nothing(tmp_path: Path) -> None:
    """Nor does it take anything of limits in tokens or money, or the fee. Only where a client
    leaves and nothing tells, the vendor may be at work."""
    async with raw_upstream(scripted) as upstream:
        settings = config(
            upstream.url,
            upstreams={
                "mock": {"base_url": upstream.url, "api_key": "k", "on_client_gone": "stop"}
            },
            **BLOCKS,
        )
        async with running(tmp_path, settings) as proxy:
            for case in CASES:
                await ask(proxy, *case)
            rows = await proxy.records(len(CASES))
            used = await series(proxy, "tollkeeper_limit_used", "unit")
            faults = await series(proxy, "tollkeeper_upstream_errors_total", "kind")
    tokens = money = 0
    booked_as = {(row["model_requested"], bool(row["stream"])): row for row in rows}
    assert len(booked_as) == len(CASES)
    for name, end, stream in CASES:
        where = f"{name}, {end}, {stream=}"
        row = booked_as[f"{name}/{end}", stream]
        if end == "left" and not NONE[name][2]:
            assert (row["source"], row["outcome"], row["input_tokens"] > 0) == (
                "partial",
                "client_closed",
                True,
            ), where
            tokens += row["input_tokens"] + row["output_tokens"]
            money += row["charge_nano"]
            continue
        booked = [
            row[column]
            for column in (
                "status",
                "input_tokens",
                "output_tokens",
                "source",
                "cost_nano",
                "charge_nano",
                "inconsistent",
            )
        ]
        assert booked == [200, 0, 0, "none", 0, 0, 0], where
        # An event that says so, or the stream's end, was there before the client left.
        ended = NONE[name][1].endswith(DONE) or name in ERROR_EVENTS
        closed = end == "left" and not ended
        assert row["outcome"] == ("client_closed" if closed else "upstream_failed"), where
    assert (used["tokens"], used["USD"]) == (tokens, money / 10**9)
    assert faults["no_answer"] + faults["reset"] == sum(row["source"] == "none" for row in rows)

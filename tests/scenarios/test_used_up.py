"""A caller that is beyond its limits is told so from its head: its bodies are neither waited for,
nor decoded, nor read."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from time import process_time

import pytest

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import guard

SMALL = b'{"model":"m-1","messages":[]}'
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n{}\r\n"
ENTRIES = b"".join(b"{}," * 300 + b'{"%d":0},' % number for number in range(4_000))
# 19 kB that take a hundred times as long to read as to refuse.
BOMB = gzip.compress(b'{"model":"m-1","messages":[' + ENTRIES + b"{}]}")
ONCE = [{"limit": "1 requests/hour"}]


def head(length: int, *fields: str, key: str = "sk-test") -> bytes:
    return HEAD.format(key, length, "".join(f"{field}\r\n" for field in fields)).encode()


async def answers(visit: Visit) -> None:
    await visit.answer(b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')


async def asked(proxy: Running, *parts: bytes) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    for part in parts:
        await client.send(part)
    async with guard():
        answer = await client.answer()
    await client.aclose()
    return answer


UNREAD = {
    "declared": head(8 << 20),
    "expect": head(8 << 20, "Expect: 100-continue"),
    "compressed": head(len(BOMB), "Content-Encoding: gzip") + BOMB[:100],
    "chunked": head(0, "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    + b"5\r\n{",
}


@pytest.mark.parametrize(
    "limit",
    ["1 requests/minute", "1 requests/day", "1 tokens/total", "0 USD/month", "0 concurrent"],
)
async def test_no_body_is_waited_for(tmp_path: Path, limit: str) -> None:
    keys = {"alice": {"secret": "sk-test", "limits": [{"limit": limit}]}}
    prices = [{"model": "m-1", "input": "1", "output": "1"}]
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, config(upstream.url, keys=keys, prices=prices)) as proxy,
    ):
        if not limit.startswith("0"):
            assert (await asked(proxy, head(len(SMALL)) + SMALL)).status == 200
        sent = len(upstream.visits)
        told = await asked(proxy, head(len(SMALL)) + SMALL)
        for request in UNREAD.values():
            answer = await asked(proxy, request)
            assert (answer.status, answer.header("connection")) == (429, b"close")
            assert error(answer) == error(told)
        assert len(upstream.visits) == sent


def error(answer: RawAnswer) -> tuple[object, ...]:
    """What a refusal says, without the id of its request and what passes with time."""
    found = json.loads(answer.body)["error"]
    fields = sorted(line.split(b":")[0] for line in answer.head.lower().split(b"\r\n")[1:])
    return found["type"], found["code"], [field for field in fields if field != b"connection"]


async def test_what_holds_for_some_models_only_is_asked_with_the_body(tmp_path: Path) -> None:
    limits = [{"limit": "0 requests/hour for dear-*"}]
    keys = {"alice": {"secret": "sk-test", "limits": limits}}
    body = gzip.compress(SMALL)
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, config(upstream.url, keys=keys)) as proxy,
    ):
        request = head(len(body), "Content-Encoding: gzip") + body
        assert (await asked(proxy, request)).status == 200


async def test_copies_of_a_compressed_body_in_one_go_cost_next_to_nothing(tmp_path: Path) -> None:
    keys = {name: {"secret": f"sk-{name}", "limits": ONCE} for name in ("alice", "bob")}
    bomb = [head(len(BOMB), "Content-Encoding: gzip", key=f"sk-{name}") + BOMB for name in keys]
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, config(upstream.url, keys=keys)) as proxy,
    ):
        began_s = process_time()
        assert (await asked(proxy, bomb[0])).status == 200
        one_s = process_time() - began_s
        client = await RawClient.connect(proxy.address)
        began_s = process_time()
        await client.send(bomb[0] * 50)
        assert [(await client.answer()).status for _ in range(50)] == [429] * 50
        assert process_time() - began_s < 20 * one_s  # read, they cost 50
        await client.aclose()
        # At once, on connections of their own, by a key that has one request left: one is read.
        began_s = process_time()
        found = await asyncio.gather(*(asked(proxy, bomb[1]) for _ in range(20)))
        assert sorted(answer.status for answer in found) == [200] + [429] * 19
        assert process_time() - began_s < 15 * one_s  # read, they cost 20


async def test_a_large_body_that_is_here_and_not_read_does_not_stop_its_connection(
    tmp_path: Path,
) -> None:
    body = b'{"model":"m-1","messages":[]}' + b" " * 150_000
    keys = {"alice": {"secret": "sk-test", "limits": ONCE}}
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, config(upstream.url, keys=keys)) as proxy,
    ):
        assert (await asked(proxy, head(len(SMALL)) + SMALL)).status == 200
        for key, status in (("sk-test", 429), ("sk-nobody", 401)):
            client = await RawClient.connect(proxy.address)
            async with guard():
                for _ in range(5):
                    await client.send(head(len(body), key=key) + body)
                    answer = await client.answer()
                    assert answer.status == status
                    if answer.header("connection") == b"close":
                        assert await client.closed()
                        break
                else:
                    await client.aclose()


async def test_bodies_that_do_not_come_take_no_place_among_requests_in_flight(
    tmp_path: Path,
) -> None:
    async with (
        raw_upstream(answers) as upstream,
        running(tmp_path, config(upstream.url, inflight_max=2, connections_max=9)) as proxy,
    ):
        slow = [await RawClient.connect(proxy.address) for _ in range(4)]
        for client in slow:
            await client.send(head(len(SMALL)))
        async with guard():
            while proxy.server.services.arriving.count < len(slow):
                await asyncio.sleep(0)
        assert (await asked(proxy, head(len(SMALL)) + SMALL)).status == 200
        for client in slow:
            await client.send(SMALL)
            assert (await client.answer()).status == 200
            await client.aclose()
        assert (proxy.server.services.arriving.count, proxy.server.services.inflight.count) == (
            0,
            0,
        )


async def test_a_stop_waits_for_the_bodies_that_are_on_their_way(tmp_path: Path) -> None:
    async with raw_upstream(answers) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(head(len(SMALL)))
        while not proxy.server.services.arriving.count:
            await asyncio.sleep(0)
        draining = asyncio.create_task(proxy.server.drain())
        while not proxy.server.services.draining:
            await asyncio.sleep(0)
        await client.send(SMALL)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["usage"]["total_tokens"]) == (200, 2)
        await draining
        await client.aclose()

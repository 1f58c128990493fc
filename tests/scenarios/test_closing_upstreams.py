"""Upstreams that close their connections behind answers without saying so: nobody gets a 502 for
it, and no request is sent twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.tls import certificate, server_context
from tests.support.waiting import until

STREAM = b'{"model":"%s","stream":true}'
WHOLE = b'{"model":"%s"}'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"abcd"},"finish_reason":"stop"}]}\n\n'
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
AT_ONCE = 8


async def half_close(visit: Visit) -> None:
    visit.writer.write_eof()
    await visit.reader.read()
    visit.writer.close()


async def late_408(visit: Visit) -> None:
    """What load balancers say to a client that sends nothing more."""
    await asyncio.sleep(0.001)
    await visit.send(
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    visit.writer.close()


def after(delay_s: float) -> Callable[[Visit], Awaitable[None]]:
    async def close(visit: Visit) -> None:
        await asyncio.sleep(delay_s)
        visit.writer.close()

    return close


async def reset(visit: Visit) -> None:
    visit.reset()


CLOSES = {
    "at-once": after(0),
    "1ms": after(0.001),
    "2ms": after(0.002),
    "reset": reset,
    "408": late_408,
    "half": half_close,
}


async def closing(visit: Visit) -> None:
    """Closes as the model's name says; behind streams and not behind whole answers, as llama.cpp
    does."""
    if b"stream" in visit.body:
        await visit.stream(EVENT, b"data: [DONE]\n\n")
        await CLOSES[json.loads(visit.body)["model"]](visit)
    else:
        await visit.answer(ANSWER)


async def statuses(proxy: Running, bodies: list[bytes]) -> Counter[int]:
    """What that many clients at once are answered, each of them with these requests, one after the
    other."""

    async def one() -> list[int]:
        client = await RawClient.connect(proxy.address)
        heard = []
        for body in bodies:
            await client.post(body)
            heard.append((await client.answer()).status)
        await client.aclose()
        return heard

    return Counter(
        status
        for heard in await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        for status in heard
    )


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_nobody_pays_for_a_connection_that_was_closed(tmp_path: Path, tls: bool) -> None:
    key, cert = certificate(tmp_path)
    async with raw_upstream(closing, server_context(key, cert) if tls else None) as upstream:
        one = {"base_url": upstream.url, "api_key": "k", **({"ca_file": str(cert)} if tls else {})}
        names, each = (
            (["at-once", "2ms", "reset"], 4) if tls else (list(CLOSES), 8)
        )  # handshakes take their time
        routes = [{"model": name, "upstream": name} for name in names]
        async with running(
            tmp_path, config("", upstreams=dict.fromkeys(names, one), routes=routes)
        ) as proxy:
            heard = {}
            for name in names:
                streams = [STREAM % name.encode()] * each
                mixed = [STREAM % name.encode(), WHOLE % name.encode()] * (each // 2)
                heard[name] = await statuses(proxy, streams) + await statuses(proxy, mixed)
    assert heard == {name: {200: 2 * AT_ONCE * each} for name in names}
    assert len(upstream.visits) == len(names) * 2 * AT_ONCE * each, "each request was sent once"


async def test_one_that_closes_while_the_journal_is_synced_costs_nothing(tmp_path: Path) -> None:
    """Under `sync: always` there is a moment between the connection in hand and the first byte."""
    visits: list[Visit] = []

    async def script(visit: Visit) -> None:
        visits.append(visit)
        await visit.answer(ANSWER)

    async with (
        raw_upstream(script) as upstream,
        running(
            tmp_path, config(upstream.url, journal={"segment": "1MiB", "sync": "always"})
        ) as proxy,
    ):
        pool = proxy.pool
        client = await RawClient.connect(proxy.address)
        await client.post(WHOLE % b"m")
        await client.answer()
        journal, synced = proxy.server.services.journal, proxy.server.services.journal.synced
        [idle] = pool._idle
        pool._reuse.kept(idle.chunked, 1.0, 1.0)

        async def closed_meanwhile() -> None:
            visits[0].writer.close()
            await until(lambda: not idle.usable)
            await synced()

        journal.synced = closed_meanwhile  # type: ignore[method-assign]
        await client.post(WHOLE % b"m")
        assert (await client.answer()).status == 200
        assert len(visits) == 2 and visits[0].writer is not visits[1].writer
        await client.aclose()
        await proxy.records(2)

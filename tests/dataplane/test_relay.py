"""`stream_usage: inject` from outside: what the vendor is asked, what the client sees, what is
booked. (The plain relay is in tests/dataplane/test_exchange.py.)"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from proxy.dataplane.exchange import Exchange
from proxy.dataplane.relay import Relay
from proxy.dataplane.upstream.connection import UpstreamConnection
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

SHARED_NAMES_MAX = 30  # of a class, as CPython keeps names once for all of its objects

ASK = b'{"model":"m-1", "stream": true, "messages":[]}'
ASKS_TOO = b'{"model":"m-1","stream":true,"stream_options":{"include_usage":true}}'
REFUSES = b'{"model":"m-1","stream":true,"stream_options":{"include_usage":false}}'
TEXT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"abcd"}}],"usage":null}\n\n'
FINISH = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
)
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
MERGED = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
DONE = b"data: [DONE]\n\n"
DECLINED = b'{"error":{"message":"unknown field stream_options","type":"invalid_request_error"}}'


def inject(url: str) -> dict[str, object]:
    return config(
        url, upstreams={"mock": {"base_url": url, "api_key": "k", "stream_usage": "inject"}}
    )


async def ask(proxy: Running, body: bytes, *headers: str) -> RawAnswer:
    client = await RawClient.connect(proxy.address)
    await client.post(body, headers=headers)
    answer = await client.answer()
    await client.aclose()
    assert answer.whole
    return answer


def counts(row: dict[str, object]) -> tuple[object, ...]:
    return row["outcome"], row["source"], row["input_tokens"], row["output_tokens"]


@pytest.mark.parametrize("body", [ASK, REFUSES])
@pytest.mark.parametrize("framing", ["chunked", "length", "until close"])
async def test_the_vendor_is_asked_and_the_client_sees_nothing_of_it(
    tmp_path: Path, body: bytes, framing: str
) -> None:
    stream = TEXT + FINISH + USAGE + DONE

    async def script(visit: Visit) -> None:
        if framing == "chunked":
            await visit.stream(TEXT[:9], TEXT[9:] + FINISH + USAGE[:30], USAGE[30:], DONE)
        elif framing == "length":
            await visit.answer(stream, headers=("Content-Type: text/event-stream",))
        else:
            await visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", stream)
            visit.writer.close()

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        answer = await ask(proxy, body, "Accept-Encoding: gzip, br", "Content-MD5: x", "Digest: y")
        assert answer.body == TEXT + FINISH + DONE
        [visit] = upstream.visits
        assert json.loads(visit.body)["stream_options"] == {"include_usage": True}
        assert (
            visit.header("accept-encoding"),
            visit.header("content-md5"),
            visit.header("digest"),
        ) == (b"identity", None, None)
        assert counts((await proxy.records(1))[0]) == ("completed", "reported", 7, 3)


@pytest.mark.parametrize(
    "named",
    ["Content-Type: application/json", "Content-Type: text/plain; charset=utf-8", "X-Nothing: y"],
)
async def test_a_stream_under_another_type_is_a_stream(tmp_path: Path, named: str) -> None:
    """Servers and the layers before them call it JSON or text, or nothing at all; the clients that
    asked for it read events. One object is no stream."""
    alone = USAGE.removeprefix(b"data: ").strip()
    bodies = [TEXT + FINISH + USAGE + DONE, TEXT + FINISH + USAGE + DONE, alone]

    async def script(visit: Visit) -> None:
        asked = len(upstream.visits)
        if asked == 1:
            await visit.send(
                f"HTTP/1.1 200 OK\r\n{named}\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
                b"%x\r\n%b\r\n0\r\n\r\n" % (len(bodies[0]), bodies[0]),
            )
        else:
            await visit.answer(bodies[asked - 1], headers=(named,))

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        assert [(await ask(proxy, ASK)).body for _ in bodies] == [
            TEXT + FINISH + DONE,
            TEXT + FINISH + DONE,
            alone,
        ]
        assert {counts(row)[1:] for row in await proxy.records(3)} == {("reported", 7, 3)}


@pytest.mark.parametrize(
    ("body", "stream"),
    [
        (ASKS_TOO, TEXT + FINISH + USAGE + DONE),
        (ASK, TEXT + MERGED + DONE),
        (b'{"model":"m-1","stream":true,"stream_options":"?"}', TEXT + USAGE + DONE),
    ],
)
async def test_what_the_client_asked_for_and_merged_shapes_pass_unchanged(
    tmp_path: Path, body: bytes, stream: bytes
) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(stream)

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        assert (await ask(proxy, body)).body == stream
        if b"stream_options" in body:
            assert upstream.visits[0].body == body
        assert counts((await proxy.records(1))[0])[1:] == ("reported", 7, 3)


async def test_nothing_but_streams_is_touched_and_observe_touches_nothing(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        if b'"stream": true' in visit.body:
            await visit.stream(TEXT, USAGE, DONE)
        else:
            await visit.answer(b"{}")

    async with raw_upstream(script) as upstream:
        (tmp_path / "inject").mkdir()
        async with running(tmp_path / "inject", inject(upstream.url)) as proxy:
            await ask(proxy, b'{"model":"m-1"}', "Accept-Encoding: gzip")
        async with running(tmp_path, config(upstream.url)) as proxy:
            assert (await ask(proxy, ASK, "Accept-Encoding: gzip")).body == TEXT + USAGE + DONE
        assert [visit.body for visit in upstream.visits] == [b'{"model":"m-1"}', ASK]
        assert [visit.header("accept-encoding") for visit in upstream.visits] == [b"gzip", b"gzip"]


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Entity"])
async def test_a_vendor_that_declines_the_question_is_asked_plainly_and_not_again(
    tmp_path: Path, status: str
) -> None:
    async def script(visit: Visit) -> None:
        if b"stream_options" in visit.body:
            await visit.answer(DECLINED, status=status)
        else:
            await visit.stream(TEXT, FINISH, DONE)

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        for _ in range(2):
            assert (await ask(proxy, ASK)).body == TEXT + FINISH + DONE
        assert [b"stream_options" in visit.body for visit in upstream.visits] == [
            True,
            False,
            False,
        ]
        assert upstream.visits[1].body == ASK
        rows = await proxy.records(2)
        assert [counts(row)[:2] for row in rows] == [("completed", "estimated")] * 2


async def test_one_callers_refusals_turn_the_question_off_for_nobody_else(tmp_path: Path) -> None:
    """A caller can write what a vendor refuses for the question alone. Three keys' refusals are the
    vendor's own way."""

    async def script(visit: Visit) -> None:
        if b"stream_options" in visit.body and b"odd" in visit.body:
            await visit.answer(DECLINED, status="400 Bad Request")
        else:
            await visit.stream(TEXT, FINISH, DONE)

    keys = {name: {"secret": f"sk-{name}"} for name in ("mallory", "trent", "peggy", "bob")}
    odd = ASK.replace(b"{", b'{"odd":1,', 1)
    asked: list[bool] = []
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, inject(upstream.url) | {"keys": keys}) as proxy,
    ):
        for name, body in (
            *[("mallory", odd)] * 4,
            ("bob", ASK),
            ("mallory", ASK),
            ("trent", odd),
            ("bob", ASK),
            ("peggy", odd),
            ("bob", ASK),
        ):
            client = await RawClient.connect(proxy.address)
            await client.post(body, key=f"sk-{name}")
            assert (await client.answer()).status == 200
            await client.aclose()
            asked.append(b"stream_options" in upstream.visits[-1].body)
        assert asked == [False] * 4 + [True, False, False, True, False, False]


async def test_a_400_that_has_another_reason_is_the_clients_to_see(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(DECLINED, status="400 Bad Request")

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        for _ in range(2):
            answer = await ask(proxy, ASK)
            assert (answer.status, answer.body, answer.header("x-tollkeeper-origin")) == (
                400,
                DECLINED,
                b"upstream",
            )
        assert [b"stream_options" in visit.body for visit in upstream.visits] == [
            True,
            False,
            True,
            False,
        ]
        assert [counts(row) for row in await proxy.records(2)] == [
            ("rejected_upstream", "none", 0, 0)
        ] * 2


@pytest.mark.parametrize(
    "came",
    [TEXT + TEXT[:-9], TEXT[:-1] + TEXT[:-1]],
    ids=["inside of an event", "behind one line end"],
)
async def test_what_came_of_a_stream_that_breaks_off_is_passed_on(
    tmp_path: Path, came: bytes
) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(came[:40], came[40:], end=False)
        visit.writer.close()

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.post(ASK)
        answer = await client.answer()
        assert (answer.body, answer.whole) == (came, False)
        assert (await proxy.records(1))[0]["outcome"] == "upstream_failed"
        await client.aclose()


@pytest.mark.parametrize("reset", [True, False])
async def test_a_retry_that_finds_no_answer_leaves_one_record(tmp_path: Path, reset: bool) -> None:
    async def script(visit: Visit) -> None:
        if b"stream_options" in visit.body:
            await visit.answer(DECLINED, status="400 Bad Request")
        elif reset:
            visit.reset()
        else:
            visit.writer.close()

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        answer = await ask(proxy, ASK)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (502, "upstream_failed")
        assert [counts(row) for row in await proxy.records(1)] == [
            ("upstream_failed", "none", 0, 0)
        ]


async def test_a_client_that_left_before_the_vendor_declined_leaves_no_drain_behind(
    tmp_path: Path,
) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await left.wait()
        await visit.answer(DECLINED, status="400 Bad Request")

    async with raw_upstream(script) as upstream:
        upstreams = {
            "mock": {
                "base_url": upstream.url,
                "api_key": "k",
                "stream_usage": "inject",
                "on_client_gone": "drain",
            }
        }
        async with running(tmp_path, config(upstream.url, upstreams=upstreams)) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.post(ASK)
            await arrived.wait()
            client.leave()
            await until(lambda: proxy.server.services.drains.count)
            left.set()
            [row] = await proxy.records(1)
            assert counts(row)[1:] == ("none", 0, 0)
            assert (proxy.server.services.drains.count, len(upstream.visits)) == (0, 1)


async def test_a_drain_that_ends_between_the_attempts_charges_nothing(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(DECLINED, status="400 Bad Request")

    async with raw_upstream(script) as upstream:
        settings = inject(upstream.url)
        settings["upstreams"]["mock"]["connections_max"] = 1  # type: ignore[index]
        async with running(tmp_path, settings) as proxy:
            client = await RawClient.connect(proxy.address)
            pool = proxy.pool
            real = pool.acquire
            waits = asyncio.Event()

            async def second_waits() -> UpstreamConnection:
                if upstream.visits:
                    waits.set()
                    await asyncio.Event().wait()
                return await real()

            pool.acquire = second_waits  # type: ignore[method-assign]
            await client.post(ASK)
            await waits.wait()
            for exchange in list(proxy.server.services.exchanges):
                exchange.end_now()
            assert await client.closed()
            [row] = await proxy.records(1)
            assert counts(row)[1:] == ("none", 0, 0)


async def test_an_answer_sets_no_names_that_were_not_there_at_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that came later would give its object a dict of its own, of 800 bytes."""
    began: list[tuple[Exchange | Relay, list[str]]] = []
    run = Exchange.run

    async def watched(self: Exchange) -> None:
        began.extend((one, list(vars(one))) for one in (self, self.relay))
        await run(self)

    async def script(visit: Visit) -> None:
        await visit.stream(TEXT, FINISH, USAGE, DONE)

    monkeypatch.setattr(Exchange, "run", watched)
    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        await ask(proxy, ASK)
    for one, names in began:
        assert list(vars(one)) == names
        assert len(names) <= SHARED_NAMES_MAX
        assert not isinstance(one, Relay) or not hasattr(one.progress, "__dict__")
    assert len(began) == 2


async def test_a_request_is_let_go_of_once_it_cannot_be_sent_again(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(TEXT, end=False)
        await visit.reader.read()

    async with raw_upstream(script) as upstream, running(tmp_path, inject(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.post(ASK)
        await client.head()
        assert proxy.server.services.bodies.total_bytes > len(ASK)  # both forms of it
        for exchange in list(proxy.server.services.exchanges):
            exchange.watch(0.0)
        assert proxy.server.services.bodies.total_bytes == 0
        client.leave()
        await proxy.records(1)

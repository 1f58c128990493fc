"""The life of a request, seen from outside: the bytes a client gets, the one record each ending
leaves, and the order of both."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from time import monotonic

import pytest

from proxy.core.dialects.openai_chat.delivered import Delivered
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.dataplane.exchange import Exchange
from proxy.dataplane.relay import Relay
from proxy.dataplane.response import RelayedResponse
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import guard, until

ASK = b'{"model":"m-1","messages":[{"role":"user","content":"hi"}]}'
ASK_STREAM = b'{"model":"m-1","stream":true,"messages":[{"role":"user","content":"hi"}]}'
INPUT_ESTIMATE = -(-len(ASK_STREAM) // 4)
ANSWER = b'{"id":"c1","model":"m-1-2026","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
USAGE = b'data: {"id":"c1","model":"m-1-2026","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
FINISH = b'data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def text(content: str) -> bytes:
    return (
        b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":%b}}]}\n\n'
        % json.dumps(content).encode()
    )


def counts(row: dict[str, object]) -> tuple[object, ...]:
    return row["outcome"], row["source"], row["input_tokens"], row["output_tokens"]


async def post(proxy: Running, body: bytes) -> RawClient:
    client = await RawClient.connect(proxy.address)
    await client.post(body)
    return client


async def test_an_answer_comes_back_byte_for_byte_and_is_booked(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(
            ANSWER,
            headers=(
                "Content-Type: application/json",
                "X-Odd: caf\xe9",
                "x-request-id: r-9",
                "Set-Cookie: a=b",
            ),
        )

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.whole) == (200, ANSWER, True)
        assert answer.header("x-odd") == b"caf\xe9"
        assert answer.header("set-cookie") is None
        [row] = await proxy.records(1)
        assert counts(row) == ("completed", "reported", 7, 3)
        assert (row["id"], row["key_id"], row["team"], row["upstream"]) == (
            answer.header("x-tollkeeper-id").decode(),
            "alice",
            "research",
            "mock",
        )  # type: ignore[union-attr]
        assert (
            row["model_requested"],
            row["model_served"],
            row["upstream_request_id"],
            row["bytes_out"],
        ) == ("m-1", "m-1-2026", "r-9", len(ANSWER))
        [visit] = upstream.visits
        assert visit.body == ASK
        assert visit.header("authorization") == b"Bearer sk-upstream"
        assert visit.lines[0] == b"POST /v1/chat/completions HTTP/1.1"
        await client.aclose()


@pytest.mark.parametrize(("inside", "input_tokens"), [(True, 70), (False, 100)])
async def test_what_a_vendor_says_of_its_cache_and_its_own_cost_is_booked(
    tmp_path: Path, inside: bool, input_tokens: int
) -> None:
    usage = USAGE.replace(
        b'7,"completion_tokens":3,"total_tokens":10',
        b'70,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":30},"cost":0.00014',
    )

    async def script(visit: Visit) -> None:
        await visit.stream(text("hi"), FINISH, usage, DONE)

    upstreams = {"base_url": "", "api_key": "k", "cached_inside_input": inside}
    async with (
        raw_upstream(script) as upstream,
        running(
            tmp_path,
            config(upstream.url, upstreams={"mock": upstreams | {"base_url": upstream.url}}),
        ) as proxy,
    ):
        client = await post(proxy, ASK_STREAM)
        assert (await client.answer()).whole
        [row] = await proxy.records(1)
        assert counts(row) == ("completed", "reported", input_tokens, 3)
        assert (row["cached_tokens"], row["inconsistent"], row["upstream_cost_nano"]) == (
            30,
            False,
            140_000,
        )
        await client.aclose()


async def test_a_stream_arrives_chunk_by_chunk(tmp_path: Path) -> None:
    seen = asyncio.Event()
    chunks = [text("one"), text("two"), FINISH, USAGE, DONE]

    async def script(visit: Visit) -> None:
        await visit.stream(chunks[0], end=False)
        await seen.wait()  # the second chunk is sent only after the client has the first
        for chunk in chunks[1:]:
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await visit.send(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK_STREAM)
        status, head = await client.head()
        assert status == 200 and b"X-Accel-Buffering: no" in head
        assert await client.chunk() == chunks[0]
        seen.set()
        received = b""
        while part := await client.chunk():
            received += part
        assert received == b"".join(chunks[1:])
        [row] = await proxy.records(1)
        assert counts(row) == ("completed", "reported", 7, 3)
        await client.aclose()


async def test_a_stream_that_states_no_usage_is_estimated(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(text("x" * 10), text("y" * 10), FINISH, DONE)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK_STREAM)
        assert (await client.answer()).whole
        [row] = await proxy.records(1)
        assert counts(row) == ("completed", "estimated", INPUT_ESTIMATE, 5)
        await client.aclose()


CUTS = {
    "chunked": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n%b\r\n" % (len(text("abcd")), text("abcd")),
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n"
    + text("abcd"),
}


@pytest.mark.parametrize("framing", CUTS)
@pytest.mark.parametrize("reset", [True, False])
async def test_a_cut_upstream_looks_cut(tmp_path: Path, framing: str, reset: bool) -> None:
    delivered = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.send(CUTS[framing])
        await delivered.wait()
        if reset:
            visit.reset()
        else:
            visit.writer.close()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK_STREAM)
        asyncio.get_running_loop().call_later(0.02, delivered.set)
        answer = await client.answer()
        assert (answer.status, answer.whole, answer.body) == (200, False, text("abcd"))
        [row] = await proxy.records(1)
        assert counts(row) == ("upstream_failed", "partial", INPUT_ESTIMATE, 1)
        await client.aclose()


@pytest.mark.parametrize("framing", ["chunked", "until close", "length"])
@pytest.mark.parametrize("end", [DONE, b""], ids=["done", "final usage"])
@pytest.mark.parametrize("reset", [True, False])
async def test_how_a_connection_ends_behind_a_whole_stream_takes_nothing_from_it(
    tmp_path: Path, framing: str, end: bytes, reset: bool
) -> None:
    """Servers that close without the last chunk, or reset, behind the end of the stream."""
    stream = text("abcd") + FINISH + USAGE + end
    delivered = asyncio.Event()

    async def script(visit: Visit) -> None:
        if framing == "chunked":
            await visit.stream(stream, end=False)
        else:
            length = b"Content-Length: 9999\r\n" if framing == "length" else b""
            await visit.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n" % length + stream
            )
        await delivered.wait()
        if reset:
            visit.reset()
        else:
            visit.writer.close()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK_STREAM)
        await client.head()
        if framing != "length":
            received = b""
            while len(received) < len(stream):
                received += await client.chunk()
            delivered.set()
            assert received == stream and await client.chunk() == b"", "the client sees the end"
        else:
            delivered.set()  # a promised length that does not come can only look cut
        assert counts((await proxy.records(1))[0]) == ("completed", "reported", 7, 3)
        await client.aclose()


async def test_an_answer_that_ends_with_its_connection_is_whole(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", ANSWER)
        visit.writer.close()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.whole) == (200, ANSWER, True)
        [row] = await proxy.records(1)
        assert counts(row) == ("completed", "reported", 7, 3)
        await client.aclose()


async def test_an_http10_client_gets_a_stream_that_ends_with_the_connection(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(text("abcd"), USAGE, DONE)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(
            b"POST /v1/chat/completions HTTP/1.0\r\nAuthorization: Bearer sk-test\r\nContent-Length: %d\r\n\r\n%b"
            % (len(ASK_STREAM), ASK_STREAM)
        )
        answer = await client.answer()
        assert answer.header("transfer-encoding") is None
        assert answer.body == text("abcd") + USAGE + DONE
        assert counts((await proxy.records(1))[0]) == ("completed", "reported", 7, 3)
        await client.aclose()


@pytest.mark.parametrize("position", range(6))
async def test_a_client_that_leaves_a_stream_pays_for_what_was_delivered(
    tmp_path: Path, position: int
) -> None:
    """Left before the head (0), after the nth chunk of text (1 to 3), after the finish (4), after
    [DONE] (5)."""
    chunks = [text("abcd" * 5), text("efgh" * 5), text("ijkl" * 5), FINISH + USAGE, DONE]
    reached = asyncio.Event()

    async def script(visit: Visit) -> None:
        if position:
            await visit.stream(*chunks[:position], end=False)
        reached.set()
        await visit.reader.read()  # until the proxy lets go
        visit.reset()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK_STREAM)
        await reached.wait()
        if position:
            await client.head()
            received = b""
            while len(received) < len(b"".join(chunks[:position])):
                received += await client.chunk()
        client.leave()
        [row] = await proxy.records(1)
        expected = {
            0: ("client_closed", "partial", INPUT_ESTIMATE, 0),
            1: ("client_closed", "partial", INPUT_ESTIMATE, 5),
            2: ("client_closed", "partial", INPUT_ESTIMATE, 10),
            3: ("client_closed", "partial", INPUT_ESTIMATE, 15),
            4: ("completed", "reported", 7, 3),
            5: ("completed", "reported", 7, 3),
        }
        assert counts(row) == expected[position]


async def test_a_client_that_leaves_before_a_json_answer_is_charged_what_the_vendor_bills(
    tmp_path: Path,
) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await left.wait()
        await visit.answer(ANSWER)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        await arrived.wait()
        client.leave()
        async with guard():
            while not any(
                isinstance(exchange, Exchange) and exchange.relay._left
                for exchange in proxy.server.services.exchanges
            ):
                await asyncio.sleep(0)
        left.set()
        [row] = await proxy.records(1)
        assert counts(row) == ("client_closed", "reported", 7, 3)
        assert proxy.server.services.drains.count == 0


async def test_nothing_is_booked_when_nothing_was_sent(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        client = await post(proxy, ASK)
        answer = await client.answer()
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["type"], error["code"]) == (
            502,
            "api_error",
            "upstream_unreachable",
        )
        assert answer.header("x-tollkeeper-origin") == b"proxy"
        assert await proxy.records(0) == []
        await client.aclose()


async def test_an_upstream_that_closes_without_an_answer_is_booked_with_nothing_used(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.close()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (502, "upstream_failed")
        assert counts((await proxy.records(1))[0]) == ("upstream_failed", "none", 0, 0)
        assert len(upstream.visits) == 1  # never sent again
        await client.aclose()


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_vendor_that_rejects_our_key_is_not_quoted(tmp_path: Path, status: str) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(
            b'{"error":{"message":"Incorrect API key provided: sk-upstream"}}', status=status
        )

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
            502,
            "upstream_rejected_credentials",
        )
        assert b"sk-upstream" not in answer.body
        assert counts((await proxy.records(1))[0]) == ("rejected_upstream", "none", 0, 0)
        await client.aclose()


async def test_a_vendors_own_errors_pass_unchanged(tmp_path: Path) -> None:
    body = b'{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}'

    async def script(visit: Visit) -> None:
        await visit.answer(
            body,
            status="429 Too Many Requests",
            headers=("Content-Type: application/json", "Retry-After: 3"),
        )

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        answer = await client.answer()
        assert (
            answer.status,
            answer.body,
            answer.header("retry-after"),
            answer.header("x-tollkeeper-origin"),
        ) == (429, body, b"3", b"upstream")
        assert counts((await proxy.records(1))[0]) == ("rejected_upstream", "none", 0, 0)
        await client.aclose()


@pytest.mark.parametrize(
    ("wait_s", "code"), [(700, "upstream_timeout"), (4000, "upstream_timeout")]
)
async def test_an_upstream_that_never_answers_times_out(
    tmp_path: Path, wait_s: float, code: str
) -> None:
    arrived = asyncio.Event()

    async def script(visit: Visit) -> None:
        arrived.set()
        await visit.reader.read()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        await arrived.wait()
        for exchange in list(proxy.server.services.exchanges):
            exchange.watch(monotonic() + 300)
            assert exchange in proxy.server.services.exchanges
            exchange.watch(monotonic() + wait_s)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (504, code)
        assert counts((await proxy.records(1))[0]) == ("upstream_failed", "none", 0, 0)
        await client.aclose()


async def test_a_stream_that_falls_silent_is_cut(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(text("abcd"), end=False)
        await visit.reader.read()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK_STREAM)
        await client.head()
        await client.chunk()
        for exchange in list(proxy.server.services.exchanges):
            exchange.watch(monotonic())  # notes the progress
            exchange.watch(monotonic() + 300)
            assert exchange in proxy.server.services.exchanges
            exchange.watch(monotonic() + 601)
        assert await client.closed()
        assert counts((await proxy.records(1))[0]) == (
            "upstream_failed",
            "partial",
            INPUT_ESTIMATE,
            1,
        )


async def test_the_upstream_is_paused_while_the_client_does_not_read(tmp_path: Path) -> None:
    chunk = text("z" * 60_000)
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        await visit.stream(end=False)
        for _ in range(500):
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            sent += len(chunk)
        await visit.send(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK_STREAM)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with guard():
            while True:
                [exchange] = proxy.server.services.exchanges
                assert isinstance(exchange, Exchange)
                if (
                    exchange.relay._connection is not None
                    and exchange.relay._connection._reading_paused
                ):
                    break
                await asyncio.sleep(0)
        assert sent < 500 * len(chunk)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        received = 0
        while part := await client.chunk():
            received += len(part)
        assert received == 500 * len(chunk)
        assert counts((await proxy.records(1))[0])[:2] == ("completed", "estimated")
        await client.aclose()


async def test_interim_answers_are_skipped_and_an_answer_without_a_body_has_none(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
        )

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await post(proxy, ASK)
        answer = await client.answer()
        assert (
            answer.status,
            answer.body,
            answer.header("x-a"),
            answer.header("transfer-encoding"),
        ) == (204, b"", b"b", None)
        await proxy.records(1)
        await client.aclose()


async def test_the_drain_deadline_books_what_was_delivered(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(text("abcd"), end=False)
        await visit.reader.read()

    async with raw_upstream(script) as upstream:
        async with running(
            tmp_path, config(upstream.url, drain={"delay": "0s", "timeout": "0s"})
        ) as proxy:
            client = await post(proxy, ASK_STREAM)
            await client.head()
            await client.chunk()
        assert await client.closed()
        assert counts(proxy.rows()[0]) == ("interrupted", "estimated", INPUT_ESTIMATE, 1)


async def test_a_request_whose_opening_waits_for_the_disk_is_not_timed_out(tmp_path: Path) -> None:
    """Before anything is sent there is no time to compare with."""
    synced = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.answer(ANSWER)

    async with (
        raw_upstream(script) as upstream,
        running(
            tmp_path, config(upstream.url, journal={"sync": "always", "segment": "1MiB"})
        ) as proxy,
    ):
        journal = proxy.server.services.journal
        real = journal.synced

        async def held() -> None:
            await synced.wait()
            await real()

        journal.synced = held  # type: ignore[method-assign]
        client = await post(proxy, ASK)
        await until(lambda: proxy.server.services.exchanges)
        for exchange in proxy.server.services.exchanges:
            exchange.watch(monotonic() + 10_000)
        synced.set()
        assert (await client.answer()).status == 200
        await client.aclose()


async def test_an_answer_whose_first_mark_the_journal_refuses_says_why(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.stream(text("abcd"), end=False)
        await visit.reader.read()

    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, config(upstream.url), failpoints="journal.mark.before=enospc") as proxy,
    ):
        client = await post(proxy, ASK_STREAM)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
            503,
            "journal_unavailable",
        )
        assert answer.header("x-should-retry") == b"false"
        assert counts((await proxy.records(1))[0])[:2] == ("cut", "partial")
        await client.aclose()


@pytest.mark.parametrize("body", [ASK, ASK_STREAM], ids=["JSON", "stream"])
async def test_an_exchange_that_is_over_leaves_nothing_to_a_collector(
    tmp_path: Path, body: bytes
) -> None:
    """What refers to itself in a circle is found by a collector alone, which stops the loop."""

    async def script(visit: Visit) -> None:
        if b'"stream"' in visit.body:
            await visit.stream(*[text(f" word {at}") for at in range(9)], FINISH, USAGE, DONE)
        else:
            await visit.answer(ANSWER)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        gc.disable()
        try:
            for count in (1, 2, 3):
                client = await post(proxy, body)
                assert (await client.answer()).whole
                await proxy.records(count)
                await client.aclose()
            kinds = (Exchange, Relay, RelayedResponse, ChatMeter, Delivered)
            left = [type(found).__name__ for found in gc.get_objects() if isinstance(found, kinds)]
        finally:
            gc.enable()
        assert left == []


async def test_a_client_that_leaves_on_the_vendors_error_has_not_ended_the_answer(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        event = b'data: {"error":{"message":"no","type":"server_error"}}\n\n'
        await visit.send(b"%x\r\n%b\r\n" % (len(event), event))
        await asyncio.Event().wait()  # it says no more, and does not close

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.post(b'{"model":"m-1","stream":true,"messages":[]}')
        await client.head()
        assert b"server_error" in await client.chunk()
        client.leave()
        [row] = await proxy.records(1)
        assert (row["outcome"], row["source"]) == ("upstream_failed", "none")

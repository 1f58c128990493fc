"""One answer to one request: whatever an upstream sends behind an answer ends its connection's
reuse, and changes neither the answer nor the record."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.raw import RawAnswer, RawClient, RawUpstream, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'
JSON = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],' + USAGE + b"}"
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"AAAA"}}]}\n\n'
LAST = b'data: {"choices":[],' + USAGE + b"}\n\ndata: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(*fields: bytes, status: bytes = b"200 OK") -> bytes:
    return b"".join(line + b"\r\n" for line in (b"HTTP/1.1 " + status, *fields)) + b"\r\n"


KEPT = {"upstream_keepalive": "60s"}  # so that no connection goes by itself
CHUNKED = b"Transfer-Encoding: chunked"
# An answer in the pieces it is sent in.
ANSWERS = {
    "length": (head(b"Content-Length: %d" % len(JSON)) + JSON,),
    "length, two pieces": (head(b"Content-Length: %d" % len(JSON)) + JSON[:20], JSON[20:]),
    "chunks": (head(CHUNKED) + chunk(JSON) + b"0\r\n\r\n",),
    "events": (
        head(CHUNKED, b"Content-Type: text/event-stream") + chunk(TEXT),
        chunk(LAST) + b"0\r\n\r\n",
    ),
    "events of stated length": (
        head(b"Content-Length: %d" % len(TEXT + LAST), b"Content-Type: text/event-stream") + TEXT,
        LAST,
    ),
    "an error": (head(b"Content-Length: 2", status=b"429 Slow") + b"{}",),
    "nothing": (head(b"Content-Length: 0", status=b"500 Oh"),),
    "no content": (head(status=b"204 No Content"),),
    "a hint before it": (
        head(b"Link: </a>", status=b"103 Early Hints")
        + head(b"Content-Length: %d" % len(JSON))
        + JSON,
    ),
}
FOLLOW_UPS = {
    "200": head(b"Content-Length: 4") + b"evil",
    "200 in chunks": head(CHUNKED) + chunk(b"evil") + b"0\r\n\r\n",
    "400": head(b"Content-Length: 0", b"Connection: close", status=b"400 Bad Request"),
    "408": head(b"Content-Length: 0", status=b"408 Request Time-out"),
    "103": head(b"Link: </a>", status=b"103 Early Hints"),
    "101": head(b"Upgrade: websocket", b"Connection: Upgrade", status=b"101 Switching Protocols"),
    "half a head": b"HTTP/1.1 4",
    "one byte": b"}",
    "an empty line": b"\r\n",
    "NUL": b"\0",
    "the answer's end again": b"0\r\n\r\n",
}


@dataclass
class Vendor:
    """Answers as the model's name says: which answer, what follows, and whether in the same segment
    or in one of its own."""

    answered: asyncio.Event

    async def __call__(self, visit: Visit) -> None:
        answer, behind, apart = json.loads(visit.body)["model"].rstrip(".").split("/")
        pieces, follow_up = [*ANSWERS.values()][int(answer)], ["", *FOLLOW_UPS][int(behind)]
        if not follow_up:
            await visit.send(*pieces)
        elif apart:
            await visit.send(*pieces)
            await self.answered.wait()
            self.answered.clear()
            await visit.send(FOLLOW_UPS[follow_up])
        else:
            for piece in pieces[:-1]:
                await visit.send(piece)
                await asyncio.sleep(0)
            await visit.send(pieces[-1] + FOLLOW_UPS[follow_up])


@dataclass
class Site:
    vendor: Vendor
    upstream: RawUpstream
    proxy: Running
    booked: int = 0

    async def ask(self, answer: str, follow_up: str, apart: bool) -> RawAnswer:
        """The answer as the client gets it."""
        client = await RawClient.connect(self.proxy.address)
        asked = f"{[*ANSWERS].index(answer)}/{['', *FOLLOW_UPS].index(follow_up)}/{'apart' * apart}"
        model = asked.ljust(12, ".")  # estimates go by the length
        await client.post(json.dumps({"model": model, "stream": "events" in answer}).encode())
        heard = await client.answer()
        self.vendor.answered.set()
        self.booked += 1
        await client.aclose()
        return heard


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def snapshot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    vendor = Vendor(asyncio.Event())
    directory = tmp_path_factory.mktemp("follow")
    async with (
        raw_upstream(vendor) as upstream,
        running(directory, config(upstream.url, timeouts=KEPT)) as proxy,
    ):
        yield Site(vendor, upstream, proxy)


def seen(heard: RawAnswer, rows: dict[object, dict[str, object]]) -> tuple[object, ...]:
    """All that client and operator see of it, but for ids and times."""
    fields = [
        line
        for line in heard.head.split(b"\r\n")
        if not line.lower().startswith((b"x-tollkeeper-id", b"date"))
    ]
    row = rows[(heard.header("x-tollkeeper-id") or b"").decode()]
    columns = (
        "status outcome source input_tokens output_tokens finish_reason bytes_out inconsistent"
    )
    return heard.whole, fields, heard.body, [row[column] for column in columns.split()]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("answer", ANSWERS)
async def test_nothing_behind_an_answer_changes_it(snapshot: Site, answer: str) -> None:
    pool = snapshot.proxy.pool
    plain = await snapshot.ask(answer, "", False)
    pool.sweep(math.inf)
    heard = {}
    for apart in (False, True):
        for follow_up in FOLLOW_UPS:
            snapshot.vendor.answered.clear()
            heard[follow_up, apart] = await snapshot.ask(answer, follow_up, apart)
            if apart:
                await until(lambda: not any(connection.is_connected() for connection in pool._idle))
                pool.sweep(0.0)
            assert pool._open == 0, f"{follow_up}: the connection carries no other answer"
    rows = {row["id"]: row for row in await snapshot.proxy.records(snapshot.booked)}
    expected = seen(plain, rows)
    assert expected[0], "the answer is whole"
    assert {case: seen(one, rows) for case, one in heard.items()} == dict.fromkeys(heard, expected)


async def test_a_client_that_reads_slowly_gets_its_whole_answer_and_no_other(
    tmp_path: Path,
) -> None:
    """The second message is there before the first has been passed on.

    The body is larger than what a kernel keeps for a client that does not read: 4 MiB and a little.
    """
    body, sent = b"x" * (24 << 20), asyncio.Event()

    async def script(visit: Visit) -> None:
        visit.writer.write(head(CHUNKED) + chunk(body) + b"0\r\n\r\n" + FOLLOW_UPS["408"])
        sent.set()
        await visit.writer.drain()
        await visit.reader.read()

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        client.reader._limit = 1024  # type: ignore[attr-defined]
        await client.post(b'{"model":"m"}')
        status, raw = await client.head()
        await sent.wait()
        [exchange] = proxy.server.services.exchanges
        await until(lambda: exchange._client.paused)  # type: ignore[attr-defined]
        answer = await client.rest(status, raw)
        assert answer.whole and answer.body == body
        [row] = await proxy.records(1)
        assert (row["status"], row["bytes_out"]) == (200, len(body))
        await client.aclose()


async def test_a_connection_with_a_request_half_sent_carries_no_other(tmp_path: Path) -> None:
    """An upstream may refuse a large request by its head alone, and keep its connection open."""
    big = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "x" * (12 << 20)}]}
    ).encode()
    read = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        refused = len(connections) == 1
        writer.write(
            head(b"Content-Length: 2", status=b"413 Too Large" if refused else b"200 OK") + b"{}"
        )
        if refused:
            await read.wait()
        writer.close()

    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with running(tmp_path, config(url)) as proxy:
        pool = proxy.pool
        for kind in (True, False):
            pool._reuse.kept(kind, 1.0, 1.0)
        statuses = []
        for body in (big, b'{"model":"m"}'):
            client = await RawClient.connect(proxy.address)
            await client.post(body)
            statuses.append((await client.answer()).status)
            await client.aclose()
        read.set()
        assert statuses == [413, 200] and len(connections) == 2
    server.close()


MALFORMED = {
    "NUL in the reason": head(b"Content-Length: 2", status=b"200 O\0K") + b"{}",
    "a control character": head(b"X: a\x01b", b"Content-Length: 2") + b"{}",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/0.9": b"{}",
    "gzip under chunked": head(b"Transfer-Encoding: gzip, chunked") + chunk(b"{}") + b"0\r\n\r\n",
    "gzip": head(b"Transfer-Encoding: gzip") + b"{}",
    "two lengths": head(b"Content-Length: 2", b"Content-Length: 3") + b"{}",
    "both framings": head(b"Content-Length: 2", CHUNKED) + b"{}",
    "a name with a space": head(b"Secured by Excellent Serv : x", b"Content-Length: 2") + b"{}",
    "a line without a colon": head(b"rubbish", b"Content-Length: 2") + b"{}",
}


async def test_an_answer_that_readers_could_take_for_different_ones_is_none(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.send(MALFORMED[json.loads(visit.body)["model"]])

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        for name in MALFORMED:
            client = await RawClient.connect(proxy.address)
            await client.post(json.dumps({"model": name}).encode())
            answer = await client.answer()
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
                502,
                "upstream_failed",
            ), name
            assert b"answered" in answer.body and b"closed the connection" not in answer.body, name
            await client.aclose()
        rows = await proxy.records(len(MALFORMED))
        assert {(row["outcome"], row["source"], row["output_tokens"]) for row in rows} == {
            ("upstream_failed", "none", 0)
        }
        assert len(upstream.visits) == len(upstream.accepted) == len(MALFORMED), (
            "asked once each, and never reused"
        )

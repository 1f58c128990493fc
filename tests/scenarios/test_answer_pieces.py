"""The same answer in whatever pieces it comes: the client gets the same bytes, the book the same
record.

An answer in one piece, and chunks that are alike, go shorter ways than one that is torn.
"""

from __future__ import annotations

import asyncio
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.effort import examples
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import guard

SECRET = "sk-upstream-0123456789abcdef"
USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":99,"total_tokens":106}'
WHOLE = (
    b'{"id":"c","object":"chat.completion","model":"m-1","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hello"},"finish_reason":"stop"}],' + USAGE + b"}"
)
ODD = [
    b'data: {"id":"c","choices":[],' + USAGE + b"}\n\n",
    b'data: {"error":{"message":"boom"}}\n\n',
    b": ping\n\n",
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]
SAID = (
    "outcome",
    "source",
    "reason",
    "status",
    "input_tokens",
    "output_tokens",
    "model_served",
    "finish_reason",
    "bytes_out",
)


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return (
        b"data: " + json.dumps({"id": "c", "model": "m-1", "choices": [choice]}).encode() + b"\n\n"
    )


def of_json(rng: random.Random) -> list[bytes]:
    """A JSON answer of a stated length, as a head and a body."""
    body = rng.choice(
        [WHOLE, WHOLE[:-9], WHOLE + b"\n", b"{}", WHOLE.replace(b"hello", SECRET.encode())]
    )
    status = rng.choice([200, 200, 201, 400, 404, 429, 500])
    return [b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)), body]


def of_events(rng: random.Random) -> list[bytes]:
    """A stream in chunks, most of which are alike."""
    words = rng.choices(
        [" word", " a", " x" * 9, '"q"', "好", f" {SECRET}"], [40, 40, 9, 1, 1, 1], k=60
    )
    events = list(map(event, words))
    for _ in range(rng.randrange(4)):
        events.insert(rng.randrange(len(events)), rng.choice(ODD))
    events += rng.choice([ODD[:1], ODD[-2:], ODD[3:4] + ODD[:1] + ODD[4:], []])
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    sizes = rng.choice([b"%x\r\n%b\r\n"] * 3 + [b"0%X\r\n%b\r\n", b"%x;a=b\r\n%b\r\n"])
    return [head, *(sizes % (len(one), one) for one in events), b"0\r\n\r\n"]


def torn(rng: random.Random, data: bytes) -> list[bytes]:
    cuts = [0, *sorted(rng.sample(range(1, len(data)), 7)), len(data)]
    return [data[at:to] for at, to in pairwise(cuts)]


@pytest.mark.parametrize("asked", [False, True], ids=["plain", "asked on the client's behalf"])
async def test_an_answer_is_the_same_in_any_pieces(tmp_path: Path, asked: bool) -> None:
    sending: list[bytes] = []

    async def script(visit: Visit) -> None:
        for piece in sending:
            await visit.send(piece)
            for _ in range(4):
                await asyncio.sleep(0)  # mostly a read of its own; what holds does not hang on it

    async with raw_upstream(script) as upstream, guard():
        mock = {"base_url": upstream.url, "api_key": SECRET}
        settings = config(
            "", upstreams={"mock": mock | ({"stream_usage": "inject"} if asked else {})}
        )
        async with running(tmp_path, settings) as proxy:
            count = 0
            for seed in range(examples(36)):
                rng = random.Random(seed)
                stream = rng.random() < 0.6
                pieces = of_events(rng) if stream else of_json(rng)
                data = b"".join(pieces)
                found = []
                for way in ([data], pieces, torn(rng, data)):
                    sending[:] = way
                    client = await RawClient.connect(proxy.address)
                    await client.post(
                        b'{"model":"m","stream":%b,"messages":[]}'
                        % (b"true" if stream else b"false")
                    )
                    answer = await client.answer()
                    await client.aclose()
                    count += 1
                    row = (await proxy.records(count))[-1]
                    found.append(
                        (answer.status, answer.body, answer.whole, [row[name] for name in SAID])
                    )
                assert found[0] == found[1] == found[2], seed

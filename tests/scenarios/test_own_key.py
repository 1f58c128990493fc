"""The operator's key reaches no client: not in an error, an event, a header or a reason, in no
coding and at no cut."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import config, running

KEY = "sk-upstream"
STARS = "*" * len(KEY)
ERROR = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode()
EVENT = b'data: {"error":{"message":"bad key ' + KEY.encode() + b'"}}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi sk"}}]}\n\n'
JSON = ("Content-Type: application/json",)
GZIP = (*JSON, "Content-Encoding: gzip")

# name: (status line, header lines, body in chunks, what the client gets: its status and body)
ANSWERS = {
    "a 400": ("400 Bad Request", JSON, [ERROR], 400, ERROR.replace(KEY.encode(), STARS.encode())),
    "a 429, cut inside the key": (
        "429 Too Many",
        JSON,
        [ERROR[:45], ERROR[45:]],
        429,
        ERROR.replace(KEY.encode(), STARS.encode()),
    ),
    "a 500 in plain text": (
        "500 Oops",
        ("Content-Type: text/plain",),
        [f"{KEY} {KEY}".encode()],
        500,
        f"{STARS} {STARS}".encode(),
    ),
    "an error in a 200": (
        "200 OK",
        JSON,
        [ERROR],
        200,
        ERROR.replace(KEY.encode(), STARS.encode()),
    ),
    "an event": (
        "200 OK",
        ("Content-Type: text/event-stream",),
        [TEXT, EVENT],
        200,
        TEXT + EVENT.replace(KEY.encode(), STARS.encode()),
    ),
    "an event, cut": (
        "200 OK",
        ("Content-Type: text/event-stream",),
        [TEXT + EVENT[:40], EVENT[40:]],
        200,
        TEXT + EVENT.replace(KEY.encode(), STARS.encode()),
    ),
    "its beginning alone": (
        "200 OK",
        ("Content-Type: text/event-stream",),
        [TEXT, b": sk-up"],
        200,
        TEXT + b": sk-up",
    ),
    "headers and the reason": (
        f"400 key {KEY}",
        (*JSON, f"X-Debug: key={KEY}", f"Location: https://h/?key={KEY}"),
        [b"{}"],
        400,
        b"{}",
    ),
    "a 400 in gzip": ("400 Bad Request", GZIP, [gzip.compress(ERROR)], 502, None),
    "a 200 in gzip, cut": (
        "200 OK",
        GZIP,
        [gzip.compress(ERROR)[:30], gzip.compress(ERROR)[30:]],
        502,
        None,
    ),
    "another 400 in gzip": (
        "400 Bad Request",
        GZIP,
        [gzip.compress(b"{}", mtime=0)],
        400,
        gzip.compress(b"{}", mtime=0),
    ),
    "a 401": ("401 Unauthorized", JSON, [ERROR], 502, None),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_the_operators_key_reaches_no_client_and_nothing_else_changes(
    tmp_path: Path, name: str
) -> None:
    status_line, lines, chunks, status, body = ANSWERS[name]

    async def script(visit: Visit) -> None:
        head = "".join(f"{line}\r\n" for line in lines)
        await visit.send(
            f"HTTP/1.1 {status_line}\r\n{head}Content-Length: {sum(map(len, chunks))}\r\n\r\n".encode(),
            *chunks,
        )

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        for path in ("/v1/chat/completions", "/v1/models/m-1"):
            answer = await ask(proxy.address, path)
            assert KEY.encode() not in answer.head + answer.body
            if path == "/v1/chat/completions":
                assert answer.status == status and answer.whole
                assert body is None or answer.body == body
                assert body is not None or b"credential" in answer.body
                assert upstream.visits[0].header("authorization") == f"Bearer {KEY}".encode()
        assert answer.status in (status, 502)


async def test_a_key_in_a_configured_header_is_hidden_too_and_that_of_a_caller_is_its_own(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'"own-header-key and sk-caller-key"', status="400 Bad Request")

    async with raw_upstream(script) as upstream:
        upstreams = {
            "mock": {
                "base_url": upstream.url,
                "auth": "forward",
                "headers": {"Ocp-Apim-Subscription-Key": "own-header-key"},
            }
        }
        async with running(tmp_path, config(upstream.url, upstreams=upstreams, keys={})) as proxy:
            answer = await ask(proxy.address, "/v1/chat/completions", "sk-caller-key")
            assert answer.body == b'"************** and sk-caller-key"'


async def ask(address: str, path: str, key: str = "sk-test") -> RawAnswer:
    client = await RawClient.connect(address)
    if path.startswith("/v1/models"):
        await client.send(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        )
    else:
        await client.post(b'{"model":"m-1","messages":[],"stream":true}', key=key)
    answer = await client.answer()
    await client.aclose()
    return answer

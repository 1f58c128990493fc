"""How answers over TLS end: with close_notify, or with a bare FIN that anybody on the way can send.
On both event loops, which differ here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.support.raw import RawAnswer, RawClient
from tests.support.running import config, running
from tests.support.tls import certificate, server_context, tls_answers

LARGE = 1 << 20  # more than the layers below hand on in one go
USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"abcd"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
JSON = b'{"choices":[{"index":0,"message":{"content":"%b"},"finish_reason":"stop"}],%b}' % (
    b"x" * 20,
    USAGE,
)
BIG = b'{"choices":[{"index":0,"message":{"content":"%b"},"finish_reason":"stop"}],%b}' % (
    b"x" * LARGE,
    USAGE,
)


def answer(body: bytes, *fields: bytes) -> bytes:
    kind = b"text/event-stream" if body.startswith(b"data") else b"application/json"
    lines = (b"HTTP/1.1 200 OK", b"Content-Type: " + kind, b"Connection: close", *fields)
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return answer(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), b"Transfer-Encoding: chunked")


WHOLE = ("completed", True)
CUT = ("upstream_failed", False)
# What is sent, whether close_notify follows, and how it ends: in the record, and for the client.
CASES = {
    "events and goodbye": (answer(TEXT + STOP + DONE), True, WHOLE),
    "half of the events and goodbye": (answer(TEXT), True, WHOLE),
    "events to [DONE]": (answer(TEXT + DONE), False, WHOLE),
    "events to a finish reason": (answer(TEXT + STOP), False, WHOLE),
    "half of the events": (answer(TEXT), False, CUT),
    "half of an event": (answer(TEXT + STOP[:30]), False, CUT),
    "JSON": (answer(JSON), False, WHOLE),
    "half of JSON": (answer(JSON[:40]), False, CUT),
    "JSON of stated length": (answer(JSON, b"Content-Length: %d" % len(JSON)), False, WHOLE),
    "less than the stated length": (
        answer(JSON[:40], b"Content-Length: %d" % len(JSON)),
        True,
        CUT,
    ),
    "large JSON": (answer(BIG), False, WHOLE),
    "large JSON of stated length": (answer(BIG, b"Content-Length: %d" % len(BIG)), False, WHOLE),
    "large JSON in chunks": (chunked(BIG), False, WHOLE),
    "large events": (answer(TEXT.replace(b"abcd", b"x" * LARGE) + STOP + DONE), False, WHOLE),
}


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_how_an_answer_over_tls_ends(tmp_path: Path, run: Callable[[object], None]) -> None:
    key, cert = certificate(tmp_path)
    answers = {name.encode(): (sent, notify) for name, (sent, notify, _) in CASES.items()}

    async def asked() -> None:
        with tls_answers(server_context(key, cert), answers) as url:
            upstreams = {"mock": {"base_url": url, "api_key": "k", "ca_file": str(cert)}}
            async with running(tmp_path, config(url, upstreams=upstreams)) as proxy:
                heard: dict[str, RawAnswer] = {}
                for name, (sent, _, _) in CASES.items():
                    client = await RawClient.connect(proxy.address)
                    stream = b"event-stream" in sent[:60]
                    await client.post(json.dumps({"model": name, "stream": stream}).encode())
                    heard[name] = await client.answer()
                    await client.aclose()
                outcomes = {
                    row["model_requested"]: row["outcome"]
                    for row in await proxy.records(len(CASES))
                }
        assert {name: (outcomes[name], heard[name].whole) for name in CASES} == {
            name: ending for name, (_, _, ending) in CASES.items()
        }
        for name in ("large JSON", "large JSON of stated length", "large JSON in chunks"):
            assert heard[name].body == BIG, name

    run(asked())

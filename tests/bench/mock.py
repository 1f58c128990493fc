"""A fast upstream for the benchmark: fixed answers, no parsing beyond the request's end.   python -m tests.bench.mock PORT

The request body says what it wants: `"stream":true` gives 100 chunks, back to back, or with
`"paced":true` at 50 a second, each of which names the moment at which it was sent; with
`"slow":true` one a second. `"silent":true`: usage is not stated, asked or not.
`"chunks":5000` so many, back to back. `"vendor":"groq-json"` gives the golden answer of that name.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import monotonic_ns

import uvloop

from tests.core.dialects.openai_chat.golden import GOLDENS

USAGE = {"prompt_tokens": 250, "completion_tokens": 100, "total_tokens": 350}
JSON_BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x" * 450},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
).encode()


def whole(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_1\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


JSON_ANSWER = whole(JSON_BODY)
# Of the golden answers those that `"vendor":"<name>"` asks for.
VENDORS = ("openai-json", "deepseek-json", "groq-json", "openrouter-json", "vllm-json")
VENDOR_ANSWERS = {
    b'"vendor":"%b"' % answer.name.encode(): whole(answer.body)
    for answer in GOLDENS
    if answer.name in VENDORS
}
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
CHUNKS = 100


def framed(event: dict[str, object] | str) -> bytes:
    data = b"data: %b\n\n" % (event if isinstance(event, str) else json.dumps(event)).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def token(number: int) -> bytes:
    delta = {"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}
    return framed(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "bench",
            "choices": [delta],
        }
    )


TOKENS = [token(number) for number in range(CHUNKS)]
SILENT_END = framed("[DONE]") + b"0\r\n\r\n"
STREAM_END = (
    framed(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "model": "bench",
            "choices": [],
            "usage": USAGE,
        }
    )
    + SILENT_END
)
SENT_DIGITS = 18
# What a token of a paced stream is but for the moment, so that making it costs next to nothing.
BEFORE_SENT, AFTER_SENT = (
    framed(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "bench",
            "choices": [
                {"index": 0, "delta": {"content": f" @{'0' * SENT_DIGITS}"}, "finish_reason": None}
            ],
        }
    )
).split(b"0" * SENT_DIGITS)
PACE_S = 0.02
SLOW_S = 1.0


class Upstream(asyncio.Protocol):
    """Keep-alive, no pipelining: a request ends with its body, whose length the head states."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        at = self.buffer.lower().find(b"content-length:", 0, head_end)
        length = int(self.buffer[at + 15 : self.buffer.find(b"\r\n", at)]) if at >= 0 else 0
        if len(self.buffer) < head_end + 4 + length:
            return
        body, self.buffer = self.buffer[head_end + 4 :], b""
        if b'"stream":true' not in body:
            asked = body.find(b'"vendor":')
            name = body[asked : body.find(b'"', asked + 10) + 1]
            self.transport.write(VENDOR_ANSWERS.get(name, JSON_ANSWER))
            return
        end = SILENT_END if b'"silent":true' in body else STREAM_END
        asked = body.find(b'"chunks":')
        if asked >= 0:
            count = int(body[asked + 9 :].split(b",", 1)[0].rstrip(b"}"))
            self.transport.write(STREAM_HEAD)
            for number in range(count):
                self.transport.write(TOKENS[number % CHUNKS])
            self.transport.write(end)
            return
        if b'"paced":true' in body or b'"slow":true' in body:
            self.transport.write(STREAM_HEAD)
            self.pace(0, PACE_S if b'"paced":true' in body else SLOW_S, end)
        else:
            self.transport.write(STREAM_HEAD + TOKENS[0])
            for chunk in TOKENS[1:]:
                self.transport.write(chunk)
            self.transport.write(end)

    def pace(self, number: int, pace_s: float, end: bytes) -> None:
        if self.transport.is_closing():
            return
        if number == CHUNKS:
            self.transport.write(end)
            return
        self.transport.write(b"%b%018d%b" % (BEFORE_SENT, monotonic_ns(), AFTER_SENT))
        asyncio.get_running_loop().call_later(pace_s, self.pace, number + 1, pace_s, end)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(
        Upstream, "127.0.0.1", int(sys.argv[1]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

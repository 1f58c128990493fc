"""What a client can tell from the bytes it received: whether the answer was whole, how much text
was in it, which usage it stated.

Written apart from the proxy's own meter and kept simple: it reads a finished recording, not a flow.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

_TEXT_FIELDS = ("content", "reasoning_content", "refusal", "text", "name", "arguments")
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass
class Received:
    """A response from its raw bytes. `whole`: its framing says that nothing is missing. `body` is
    without framing."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False


@dataclass
class Told:
    """What a body says. `usage` is (input, output) tokens if the whole answer's usage was stated;
    `measure` the delivered text in tokens of 4 bytes."""

    measure: int = 0
    usage: tuple[int, int] | None = None
    running: tuple[int, int] | None = None  # the last usage of any kind
    done: bool = False
    error: bool = False


def received(raw: bytes) -> Received:
    """Reads what came on a connection that carried one answer."""
    head, end, rest = raw.partition(b"\r\n\r\n")
    if not end:
        return Received()
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    answer = Received(int(first.split(" ")[1]), headers)
    if headers.get("transfer-encoding") == "chunked":
        answer.body, answer.whole = _dechunked(rest)
    else:
        answer.body = rest
        answer.whole = "content-length" in headers and len(rest) == int(headers["content-length"])
    return answer


def told(body: bytes, headers: dict[str, str], *, whole: bool) -> Told:
    """Text and usage in a body that may be cut off anywhere. Of a JSON answer that is not whole
    each byte counts as text, as it does for the proxy."""
    coding = headers.get("content-encoding")
    if coding is not None:
        body = zlib.decompressobj(wbits={"gzip": 31, "deflate": 15}[coding]).decompress(body)
    if headers.get("content-type", "").startswith("text/event-stream"):
        return _stream(body)
    if not whole:
        return Told(measure=-(-len(body) // 4))
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return Told(measure=-(-len(body) // 4))
    usage = _usage(value)
    text_bytes = sum(_text_bytes(value.get(name)) for name in ("choices", "output", "content"))
    return Told(-(-text_bytes // 4), usage, usage, True, value.get("error") is not None)


def _stream(body: bytes) -> Told:
    """Only whole events: half an event tells a client nothing."""
    says = Told()
    text_bytes = 0
    finished = False
    for event in _BLANK_LINE.split(body)[:-1]:
        for line in event.splitlines():
            if not line.startswith(b"data: "):
                continue
            data = line[6:]
            if data == b"[DONE]":
                says.done = True
                says.usage = says.running
                continue
            value = msgspec.json.decode(data)
            if str(value.get("type", "")).startswith(("message_", "content_", "ping")):
                text_bytes += _message_event(value, says)
                continue
            if str(value.get("type", "")).startswith(("response.", "error")):
                text_bytes += _response_event(value, says)
                continue
            added = _text_bytes(value.get("choices"))
            text_bytes += added
            says.error = says.error or "error" in value
            finished = finished or any(
                choice.get("finish_reason") for choice in value.get("choices") or []
            )
            stated = _usage(value)
            says.running = stated if stated is not None else says.running
            if stated is not None and (finished or not value.get("choices")):
                says.usage = stated
            elif added:
                says.usage = None
    says.measure = -(-text_bytes // 4)
    return says


def _message_event(event: dict[str, Any], says: Told) -> int:
    """The same of a message's stream. Its first event states an output that counts nothing yet."""
    kind = event["type"]
    if kind == "message_start":
        says.running = _usage(event["message"])
    elif kind == "message_delta":
        stated = event.get("usage")
        if stated is not None and says.running is not None:
            says.usage = says.running = (says.running[0], stated["output_tokens"])
    elif kind == "message_stop":
        says.done = True
    elif kind == "content_block_start":
        return len(event["content_block"].get("name", "").encode())
    elif kind == "content_block_delta":
        delta = event["delta"]
        return sum(len(delta.get(m, "").encode()) for m in ("text", "thinking", "partial_json"))
    return 0


def _response_event(event: dict[str, Any], says: Told) -> int:
    """The bytes of new text in an event of a response's stream, and what else it tells."""
    kind = event["type"]
    if kind in ("response.completed", "response.incomplete"):
        says.done = True
        says.usage = says.running = _usage(event["response"])
    says.error = says.error or kind in ("response.failed", "error")
    if kind.endswith(".delta"):
        return len(event["delta"].encode())
    if kind == "response.output_item.added":
        return len(event["item"].get("name", "").encode())
    return 0


def _usage(value: dict[str, Any]) -> tuple[int, int] | None:
    usage = value.get("usage")
    if usage is None:
        return None
    if "input_tokens" in usage:
        cached = usage.get("cache_read_input_tokens", 0)  # beside the input of a message
        return usage["input_tokens"] + cached, usage["output_tokens"]
    return usage["prompt_tokens"], usage.get("completion_tokens", 0)


def _text_bytes(value: object) -> int:
    """UTF-8 bytes of what a model wrote, anywhere in `choices`: texts, and names and arguments of
    tool calls."""
    if isinstance(value, list):
        return sum([_text_bytes(item) for item in value])
    if not isinstance(value, dict):
        return 0
    own = sum(
        [len(value[name].encode()) for name in _TEXT_FIELDS if isinstance(value.get(name), str)]
    )
    return own + sum(
        [_text_bytes(inner) for inner in value.values() if isinstance(inner, (dict, list))]
    )


def _dechunked(data: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body as far as it came, and whether it came to its end."""
    parts: list[bytes] = []
    at = 0
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        if size == 0:
            return b"".join(parts), data[end:] == b"\r\n\r\n"
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(parts), False

"""One function for each reader of what others send: it takes any bytes, reads them in several ways,
and raises if the ways disagree or a promise is broken. Those of the meters are in `meters.py`.

It says in a word what it has seen, so that a run can tell whether its inputs came anywhere.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import zip_longest

import brotli
import msgspec

from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.injection import UsageEventFilter, is_usage_event, splice
from proxy.core.dialects.openai_chat.pictures import count_images
from proxy.core.errors import ProxyError
from proxy.core.http.content_coding import Decoder, decode_body
from proxy.core.http.sse import SSEParser
from proxy.core.tokens.images import IMAGE_RULES, data_url_size
from proxy.core.tokens.prompts import count_input, count_prompt
from proxy.core.tokens.text import CALL_CHARS_MAX, EXACT_CHARS_MAX, PENDING_CHARS_MAX, TextBlocks
from tests.core.http.test_sse import by_the_book
from tests.fuzz.meters import damage, messages, meter, passed, responses, wire_damage
from tests.fuzz.ways import opened, ways

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
CODINGS = ("gzip", "deflate", "br", "zstd")


def sse(data: bytes) -> str:
    """The event parser against a plain reading of the specification."""
    rng, stream = opened(data)
    event_bytes_max = rng.choice([12, 60, 1 << 20])
    expected = by_the_book(stream, event_bytes_max)
    for chunks in ways(rng, stream):
        parser = SSEParser(event_bytes_max)
        events = [event for chunk in chunks for event in parser.feed(chunk)] + parser.end()
        assert (events, parser.oversized) == expected
        assert parser.pending_bytes >= 0 and parser.dropped_bytes >= 0
    return "oversized" if expected[1] else "events" if expected[0] else "nothing"


def coded(data: bytes) -> str:
    """Any coding, whole or damaged: never raises, the same in any pieces, and never more than its
    bound."""
    rng, body = opened(data)
    body *= rng.choice([1, 1, 1, 1, 1, 40])
    coding = rng.choice(CODINGS)
    packed = body if rng.random() < 0.2 else pack(coding, body)
    damaged = rng.random() < 0.5
    if damaged and packed:
        at = rng.randrange(len(packed))
        packed = rng.choice(
            [
                packed[:at],
                packed[:at] + rng.randbytes(2) + packed[at + 1 :],
                packed + rng.randbytes(5),
                packed + packed,
            ]
        )
    outputs = set()
    for chunks in ways(rng, packed):
        decoder = Decoder.for_encoding(coding, output_bytes_max=1 << 20)
        assert decoder is not None
        decoded = b"".join(piece for chunk in chunks for piece in decoder.feed(chunk))
        assert len(decoded) <= 1 << 20
        # How much comes out before it breaks depends on the pieces; that it breaks does not.
        outputs.add((decoder.failed, b"" if decoder.failed else decoded))
    assert len(outputs) == 1 or max(len(output) for _, output in outputs) > 1 << 19
    try:
        whole = decode_body(coding, packed, 1 << 20)
    except ProxyError as error:
        assert error.status in (400, 413)
        return "refused"
    assert whole == unpack(coding, packed)
    return coding


def pack(coding: str, body: bytes) -> bytes:
    if coding == "zstd":
        return zstd.compress(body)
    return {
        "gzip": lambda: gzip.compress(body, mtime=0),
        "deflate": lambda: zlib.compress(body),
        "br": lambda: brotli.compress(body, quality=1),
    }[coding]()


def unpack(coding: str, packed: bytes) -> bytes:
    """By the libraries' own simple calls, padding behind a gzip member and a second body behind the
    first included."""
    if coding == "deflate":
        return zlib.decompressobj().decompress(packed)
    return {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstd.decompress}[coding](
        packed
    )


def call(data: bytes) -> str:
    """What is accepted says the same to a plain JSON reader, and so does the body that asks for
    usage, but for that."""
    rng, body = opened(data)
    endpoint = rng.choice(ENDPOINTS)
    count_images(body)
    try:
        one = read_call(endpoint, body)
    except ProxyError as error:
        assert error.status in (400, 403)
        return "refused"
    said = pairs(body)
    names = [name for name, _ in said]
    assert len(set(names)) == len(names), "a name that occurs twice was accepted"
    fields = dict(said)
    assert (fields.get("stream") is True) == one.stream
    assert fields["model"] == one.model
    for name, (start, end) in one.spans.items():
        assert same(json.loads(lenient(body[start:end])), fields[name])
    assert 0 <= one.prompt_bytes <= len(body)
    spliced = splice(body, one)
    if spliced is None:
        return "accepted"
    asking = read_call(endpoint, spliced)
    assert asking.include_usage is True and splice(spliced, asking) is None
    options = fields.get("stream_options")
    wanted = fields | {
        "stream_options": (options if isinstance(options, dict) else {}) | {"include_usage": True}
    }
    assert same(dict(pairs(spliced)), wanted)
    return "spliced"


def pairs(body: bytes) -> list[tuple[str, object]]:
    """The members of an object, in order, doubles included; only of the outermost."""
    kept: list[list[tuple[str, object]]] = []

    def keep(members: list[tuple[str, object]]) -> dict[str, object]:
        kept.append(members)
        return dict(members)

    json.loads(lenient(body), object_pairs_hook=keep)
    return kept[-1]


def lenient(text: bytes) -> str:
    """What stands deeper down may be no UTF-8: that is between the client and its vendor."""
    return text.decode("utf-8", "replace")


def same(one: object, other: object) -> bool:
    """Equal as JSON: 1 is not true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def strip(data: bytes) -> str:
    """What is taken out of a stream is whole events that only state usage; all else stays, whatever
    the pieces. One object alone is no stream."""
    rng, stream = opened(data)
    event_bytes_max = rng.choice([40, 200, 1 << 20])
    kept = b"".join(
        event
        for event in whole_events(stream)
        if len(event.removesuffix(b"\n") if event.endswith(b"\r\n") else event) > event_bytes_max
        or not is_usage_event(event)
    )
    if (
        not kept
        and stream.lstrip().startswith(b"{")
        and len(list(whole_events(stream))) == 1
        and not re.search(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)$", stream)
    ):
        kept = stream
    for chunks in ways(rng, stream):
        chosen = UsageEventFilter(event_bytes_max)
        assert b"".join(map(chosen.feed, chunks)) + chosen.end() == kept
    return "all" if kept == stream else "taken out"


def whole_events(stream: bytes) -> Iterator[bytes]:
    """Each event with the line end that closes it: a line that is empty, behind another; or an
    object with another one behind it."""
    event = b""
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", stream)
    for line, following in zip_longest(lines, lines[1:], fillvalue=b""):
        objects = line.rstrip(b"\r\n").endswith(b"}") and re.match(
            rb"(?:data: ?){0,2}(?:\{|\[DONE\])", following
        )
        closes = (event and not line.strip(b"\r\n")) or objects
        event += line
        if closes:
            yield event
            event = b""
    if event:
        yield event


def blocks(data: bytes) -> str:
    """Text handed out in blocks is that text, in blocks of bounded size, whatever the pieces;
    nothing beyond the bounds waits."""
    rng, body = opened(data)
    text = (body.decode("utf-8", "replace") * rng.choice([1, 1, 1, 20, 400]))[
        : rng.choice([20_000, 20_000, 20_000, 200_000])
    ]
    keys = rng.choice([1, 1, 3, 300])
    counting = TextBlocks()
    handed: list[str] = []
    at = 0
    while at < len(text):
        size = (
            rng.choice([1, 5, 80, 2000, 40_000])
            if len(text) < 3000
            else rng.choice([80, 2000, 40_000])
        )
        handed += counting.add(rng.randrange(keys), text[at : at + size])
        at += size
        assert counting.pending_chars <= PENDING_CHARS_MAX
    handed += counting.finish()
    assert all(0 < len(block) <= CALL_CHARS_MAX for block in handed)
    assert len(text) < EXACT_CHARS_MAX and sum(map(len, handed)) == len(text)
    assert keys > 1 or "".join(handed) == text
    for block in handed:
        counting.counted(block, len(block))
    assert counting.exact and counting.tokens == len(text)
    return "one text" if keys == 1 else "several texts"


def prompt(data: bytes) -> str:
    """Any JSON where messages, tools and inputs are expected is counted, or is said not to be
    exact."""
    rng, body = opened(data)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        data_url_size("data:image/png;base64," + body.decode("latin-1"))
        return "no JSON"
    fields = value if isinstance(value, dict) else {}
    rule = rng.choice([None, *IMAGE_RULES])
    counted = count_prompt(
        fields.get("messages", value),
        fields.get("tools", value),
        rng.choice(["o200k_base", "cl100k_base", "other"]),
        len,
        rule,
    )
    assert counted.tokens >= 0 and counted.characters >= 0
    assert count_input(fields.get("input", value), len) >= 0
    return "exact" if counted.exact else "not exact"


TARGETS: dict[str, Callable[[bytes], str]] = {
    target.__name__: target
    for target in (
        meter,
        responses,
        messages,
        passed,
        damage,
        wire_damage,
        sse,
        coded,
        call,
        strip,
        blocks,
        prompt,
    )
}
# Of so many inputs each gets its share: the meter reads the most and says the most.
SHARES = {
    "meter": 0.15,
    "responses": 0.1,
    "messages": 0.1,
    "passed": 0.05,
    "damage": 0.05,
    "wire_damage": 0.1,
    "sse": 0.1,
    "coded": 0.05,
    "call": 0.1,
    "strip": 0.1,
    "blocks": 0.05,
    "prompt": 0.05,
}
# What each must have seen often enough.
SEEN = {
    "damage": {"damaged", "sound"}, "wire_damage": {"damaged", "sound"}, "passed": {"usage", "nothing"},
    "responses": {"usage", "text", "nothing", "unreadable"}, "messages": {"usage", "nothing", "unreadable"},
    "meter": {"usage", "text", "nothing", "unreadable"}, "sse": {"events", "oversized", "nothing"}, "coded": {*CODINGS, "refused"}, "call": {"accepted", "spliced", "refused"},
    "strip": {"taken out", "all"}, "blocks": {"one text", "several texts"}, "prompt": {"exact", "not exact", "no JSON"},
}  # fmt: skip

"""Arbitrary but well-formed HTTP exchanges, made from a seed: JSON written in every legal way, any
header bytes, any framing, any splits."""

from __future__ import annotations

import gzip
import json
import random
import string
import zlib
from dataclasses import dataclass

Fields = list[tuple[bytes, bytes]]

TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
# Names that mean something to a reader on the way; whatever their values, they pass.
REQUEST_NAMES = (
    "Accept",
    "accept-encoding",
    "User-Agent",
    "OpenAI-Beta",
    "X-Stainless-Lang",
    "traceparent",
    "Via",
    "x-request-id",
    "Accept-Language",
    "Priority",
)
# a request's names: no sign that servers fold, and no word that steers
PLAIN = "BCFGHJKLMNPQRSTVWXYZbcfghjklmnpqrstvwxyz0123456789-"
ANSWER_NAMES = (
    "Date",
    "server",
    "x-request-id",
    "openai-processing-ms",
    "x-ratelimit-remaining-tokens",
    "Vary",
    "ETag",
    "Retry-After",
    "Cache-Control",
    "CF-RAY",
)
# And such that end at the proxy, as the documented list says.
REQUEST_DROPPED = (
    "Cookie",
    "X-Forwarded-For",
    "Forwarded",
    "X-Real-IP",
    "CF-Connecting-IP",
    "OpenAI-Organization",
    "X-Target-Url",
    "x_api_key",
    "x-goog-api-key",
    "TE",
    "x-tollkeeper-Odd",
    "Keep-Alive",
    "Proxy-Connection",
)
ANSWER_DROPPED = (
    "Set-Cookie",
    "Alt-Svc",
    "Strict-Transport-Security",
    "Keep-Alive",
    "x-tollkeeper-id",
    "Proxy-Authenticate",
)
CONTENT_TYPES = (
    b"application/json",
    b"text/event-stream",
    b"text/event-stream; charset=utf-8",
    b"application/octet-stream",
    b"text/html",
    b"audio/mpeg",
    b"garbage;;;=",
)
BODYLESS = (204, 304)


@dataclass(frozen=True)
class Arbitrary:
    """One exchange: what the client sends and what the upstream answers. `*_fields` pass,
    `*_dropped` do not."""

    stream: bool
    request_fields: Fields
    request_dropped: Fields
    request_body: bytes
    request_wire: bytes  # the whole request, as it is written
    request_cuts: list[int]  # where its writes end
    status: int
    reason: bytes
    answer_fields: Fields
    answer_dropped: Fields
    answer_body: bytes
    answer_wire: bytes
    answer_cuts: list[int]
    ends_with_close: bool


def arbitrary(seed: str) -> Arbitrary:
    rng = random.Random(seed)
    stream = rng.random() < 0.5
    body = request_body(rng, stream)
    request_fields, request_dropped, request_head = _fields(rng, REQUEST_NAMES, REQUEST_DROPPED)
    if rng.random() < 0.2:
        coding, body = rng.choice(
            [
                (b"gzip", gzip.compress(body, mtime=0)),
                (b"deflate", zlib.compress(body)),
                (b"identity", body),
            ]
        )
        pair = (b"Content-Encoding", coding)
        request_fields.append(pair)
        request_head += _line(*pair)
    framing = rng.random() < 0.3
    wire = request_head + (
        b"Transfer-Encoding: chunked\r\n\r\n" + chunked(rng, body)
        if framing
        else b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    wire = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer sk-test\r\n"
        + wire
    )

    status = rng.choice(
        [200, 200, 200, 201, 204, 304, 400, 401, 403, 404, 429, 500, 503, rng.randrange(200, 600)]
    )
    reason = bytes(rng.choice([b"", b"OK", _value(rng)]))
    answer_fields, answer_dropped, head = _fields(rng, ANSWER_NAMES, ANSWER_DROPPED)
    content_type, coding, answer = answer_body(rng)
    for name, value in (
        (b"Content-Type", content_type),
        (rng.choice([b"Content-Encoding", b"content-encoding"]), coding),
    ):
        if value:
            answer_fields.append((name, value))
            head += _line(name, value)
    answer_wire, closes = b"HTTP/1.1 %d %b\r\n%b" % (status, reason, head), False
    if status in BODYLESS:
        answer, answer_wire = b"", answer_wire + b"\r\n"
    else:
        kind = rng.choice(["length", "chunked", "chunked", "close"])
        closes = kind == "close"
        if kind == "length":
            answer_wire += b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
        elif kind == "chunked":
            answer_wire += b"Transfer-Encoding: chunked\r\n\r\n" + chunked(rng, answer)
        else:
            answer_wire += rng.choice([b"\r\n", b"Connection: close\r\n\r\n"]) + answer
    if rng.random() < 0.1:
        answer_wire = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer_wire
    return Arbitrary(
        stream,
        request_fields,
        request_dropped,
        body,
        wire,
        cuts(rng, wire),
        status,
        reason,
        answer_fields,
        answer_dropped,
        answer,
        answer_wire,
        cuts(rng, answer_wire),
        closes,
    )


def request_body(rng: random.Random, stream: bool) -> bytes:
    """A chat request as any client may write it: order, whitespace, escapes and numbers in any
    legal form, unknown fields too."""
    members = [
        (_json_string(rng, "model"), _json_string(rng, "m-1")),
        (_json_string(rng, "messages"), _json(rng, 4)),
    ]
    if stream or rng.random() < 0.3:
        members.append((b'"stream"', b"true" if stream else rng.choice([b"false", b"null"])))
    for name in rng.sample(
        [
            "temperature",
            "user",
            "metadata",
            "tools",
            "größe",
            "结果",
            "max_tokens",
            "\u0000",
            "seed",
            "stop",
        ],
        rng.randrange(5),
    ):
        members.append((_json_string(rng, name), _json(rng, rng.choice([1, 3]))))
    rng.shuffle(members)
    return (
        _space(rng)
        + _bracketed(
            rng,
            b"{}",
            [
                _space(rng) + name + _space(rng) + b":" + _space(rng) + value
                for name, value in members
            ],
        )
        + _space(rng)
    )


def answer_body(rng: random.Random) -> tuple[bytes, bytes, bytes]:
    """A content type, a content coding (or b"") and a body, which need not fit each other."""
    content_type = rng.choice([*CONTENT_TYPES, b"", _value(rng)])
    body = rng.choice([_noise, _answer, _events, _events])(rng)
    coding = rng.choice([b""] * 6 + [b"gzip", b"deflate", b"br", b"zstd", b"gzip, br", b"x-odd"])
    if coding == b"gzip":
        body = gzip.compress(body, mtime=0)
    elif coding == b"deflate":
        packer = zlib.compressobj(wbits=rng.choice([zlib.MAX_WBITS, -zlib.MAX_WBITS]))
        body = packer.compress(body) + packer.flush()
    elif coding == b"zstd":
        body = b"\x28\xb5\x2f\xfd" + body
    if rng.random() < 0.1:
        body = body[: len(body) // 2]
    return content_type, coding, body


def chunked(rng: random.Random, body: bytes) -> bytes:
    """The body in chunks of any sizes, some with extensions, some with a trailer: all of that is
    the sender's own."""
    wire, at = b"", 0
    while at < len(body):
        size = rng.choice([1, rng.randrange(1, 50), rng.randrange(1, 5000), len(body)])
        part = body[at : at + size]
        at += size
        wire += b"%x%b\r\n%b\r\n" % (len(part), rng.choice([b"", b"", b"", b";a=b"]), part)
    return wire + b"0\r\n" + rng.choice([b"", b"", b"", b"X-Trailer: t\r\n"]) + b"\r\n"


def cuts(rng: random.Random, wire: bytes) -> list[int]:
    """Where the writes of `wire` end: at a few places, in its head too, or nowhere."""
    return sorted({*(rng.randrange(len(wire)) for _ in range(rng.choice([0, 1, 1, 4]))), len(wire)})


def _fields(
    rng: random.Random, names: tuple[str, ...], dropped_names: tuple[str, ...]
) -> tuple[Fields, Fields, bytes]:
    """Fields that pass, fields that do not, and both in one random order as they are written."""
    kept: Fields = [
        (_spelling(rng, name), _value(rng)) for name in rng.sample(names, rng.randrange(4))
    ]
    kept += [
        (
            b"x-"
            + "".join(
                rng.choices(PLAIN if names is REQUEST_NAMES else TOKEN, k=rng.randrange(1, 20))
            ).encode(),
            _value(rng),
        )
        for _ in range(rng.randrange(6))
    ]
    kept += [
        (name, _value(rng)) for name, _ in kept if name.startswith(b"x-") and rng.random() < 0.2
    ]  # a name may come again
    dropped: Fields = [
        (_spelling(rng, name), _value(rng)) for name in rng.sample(dropped_names, rng.randrange(4))
    ]
    if kept and rng.random() < 0.1:  # a field that Connection names ends here too
        named = b"x-%d-named" % rng.randrange(100)
        dropped += [(b"Connection", b"keep-alive, " + named), (named, _value(rng))]
    order = [(pair, True) for pair in kept] + [(pair, False) for pair in dropped]
    rng.shuffle(order)
    wire = b"".join(
        name
        + b":"
        + rng.choice([b" ", b"", b" \t "])
        + value
        + rng.choice([b"", b"", b" "])
        + b"\r\n"
        for (name, value), _ in order
    )
    return [pair for pair, passes in order if passes], dropped, wire


def _line(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value)


def _spelling(rng: random.Random, name: str) -> bytes:
    return rng.choice([name, name.lower(), name.upper()]).encode()


def _value(rng: random.Random) -> bytes:
    """Any field value: visible ASCII, spaces and tabs inside, and the bytes above 127, which are
    latin-1 or whatever the sender means by them."""
    alphabet = rng.choice(
        [
            bytes(range(33, 127)),
            bytes(range(32, 127)) + b"\t" + bytes(range(128, 256)),
            "grün, 好".encode(),
        ]
    )
    return bytes(rng.choices(alphabet, k=rng.choice([0, 1, 10, 10, 300]))).strip(b" \t")


def _json(rng: random.Random, depth: int) -> bytes:
    kind = rng.randrange(7 if depth else 4)
    if kind == 0:
        return rng.choice([b"null", b"true", b"false"])
    if kind == 1:
        return rng.choice(
            [
                b"0",
                b"-0",
                b"1e5",
                b"-1.50E+02",
                b"3.141592653589793238462643383279",
                b"123456789012345678901234567890",
                b"0.1",
            ]
        )
    if kind in (2, 3):
        return _json_string(rng, _text(rng))
    count = rng.randrange(5)
    if kind == 4:
        return _bracketed(rng, b"[]", [_json(rng, depth - 1) for _ in range(count)])
    return _bracketed(
        rng,
        b"{}",
        [
            _json_string(rng, f"{n}{_text(rng)}") + b":" + _space(rng) + _json(rng, depth - 1)
            for n in range(count)
        ],
    )


def _text(rng: random.Random) -> str:
    alphabet = rng.choice(
        ['abc "\\/\b\f\n\r\t', "äöüß", "你好世界", "😀🇩🇪", "\x00\x1f\x7f\u2028", "data: [DONE]\n\n"]
    )
    return "".join(rng.choices(alphabet, k=rng.choice([0, 3, 20, 200])))


# A name that is one of these but for a sign is refused, since somebody may read it as that.
PLAIN_NAMES = {"model", "m-1", "stream", "user", "metadata", "max_tokens"}


def _json_string(rng: random.Random, text: str) -> bytes:
    """The text between quotes: each character as it is, or escaped, where either is legal; now and
    then half of an emoji."""
    plain = json.dumps(text, ensure_ascii=rng.random() < 0.5).encode()
    if rng.random() < 0.1 and text.isascii():
        plain = (
            b'"'
            + "".join(f"\\u{ord(character):04{rng.choice('xX')}}" for character in text).encode()
            + b'"'
        )
    if rng.random() < 0.02 and text not in PLAIN_NAMES:
        plain = plain[:-1] + b'\\ud83d"'
    return plain


def _bracketed(rng: random.Random, brackets: bytes, parts: list[bytes]) -> bytes:
    return (
        brackets[:1]
        + _space(rng)
        + (_space(rng) + b"," + _space(rng)).join(parts)
        + _space(rng)
        + brackets[1:]
    )


def _space(rng: random.Random) -> bytes:
    return rng.choice([b"", b"", b"", b" ", b"\n", b" \t\r\n"])


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([0, 1, 100, 5000, 200_000]))


def _answer(rng: random.Random) -> bytes:
    usage = b'{"prompt_tokens":%d,"completion_tokens":%d}' % (
        rng.randrange(1000),
        rng.randrange(1000),
    )
    return _bracketed(
        rng,
        b"{}",
        [
            b'"choices":' + _json(rng, 3),
            b'"usage":' + rng.choice([usage, _json(rng, 2)]),
            b'"x":' + _json(rng, 2),
        ],
    )


def _events(rng: random.Random) -> bytes:
    """A stream of events, or what only looks like one: any line ends, comments, rubbish between,
    with and without its end."""
    end = rng.choice([b"\n", b"\r\n", b"\r"])
    parts = [rng.choice([b"", b"\xef\xbb\xbf"])]
    for _ in range(rng.choice([0, 3, 30])):
        delta = b'{"choices":[{"index":0,"delta":{"content":%b}}]}' % _json_string(rng, _text(rng))
        parts.append(
            rng.choice(
                [
                    b"data: " + delta,
                    b"data:" + delta,
                    b": comment",
                    b"event: x" + end + b"data: " + _answer(rng),
                    rng.randbytes(30),
                ]
            )
            + end
            + end
        )
    return b"".join([*parts, rng.choice([b"data: [DONE]" + end + end, b"data: [DONE]", b""])])

"""A head is known again by all of its bytes but a few values, and it reads then as to a parser."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http.headers import Fields
from proxy.core.http.request_head import KEPT_MAX, RequestHead
from tests.support.effort import examples

LINES = (b"Host: p", b"Authorization: Bearer sk-1", b"Content-Length: 7", b"X-Length: a")
START = b"POST /v1/x HTTP/1.1"


def head_of(*lines: bytes, start: bytes = START) -> RequestHead:
    """As a parser would read these lines."""
    fields = [tuple(part.strip() for part in line.split(b":", 1)) for line in lines]
    method, target, _ = start.decode().split(" ")
    return RequestHead(method, target, (1, 1), fields)  # type: ignore[arg-type]


def data_of(*lines: bytes, start: bytes = START, body: bytes = b"1234567") -> bytes:
    return b"\r\n".join((start, *lines, b"", b"")) + body


def test_only_the_digits_of_the_length_may_differ() -> None:
    head = head_of(*LINES)
    data = data_of(*LINES)
    assert head.learn(data) == (7, len(data) - 7, [b"7"]) and head.only_length
    longer = data_of(*(line.replace(b"7", b"12") for line in LINES), body=b"x" * 12)
    assert head.read(longer) == (12, len(longer) - 12, [b"12"])
    for number, line in enumerate(LINES):
        for changed in (line.replace(b"Length: 7", b"Length: 7 ") + b"1", line.upper()):
            other = head.read(data_of(*LINES[:number], changed, *LINES[number + 1 :]))
            assert (other is not None) is (changed == b"Content-Length: 71"), changed
    for start in (b"POST /v1/y HTTP/1.1", b"PUT /v1/x HTTP/1.1", b"POST /v1/x HTTP/1.0"):
        assert head.read(data_of(*LINES, start=start)) is None


def test_heads_of_the_same_bytes_differ_in_the_same_values() -> None:
    """An empty value is a value: else its line would look like that of any other one."""
    first, second = (LINES[2], b"b3: 1"), (LINES[2], b"b3: ")
    heads = [head_of(*lines) for lines in (first, second)]
    found = [
        head.learn(data_of(*lines)) for head, lines in zip(heads, (first, second), strict=True)
    ]
    assert [values for _, _, values in filter(None, found)] == [[b"7", b"1"], [b"7", b""]]
    assert heads[0].key == heads[1].key and heads[0].telling == heads[1].telling


TELLING = (b"traceparent: 00-1", b"Content-Length: 7", b"X-Request-ID: a", b"X-Other: a")


def test_what_tells_requests_apart_may_differ_too() -> None:
    head = head_of(*TELLING)
    assert head.learn(data_of(*TELLING)) is not None and not head.only_length
    data = data_of(b"traceparent: 00-22", b"Content-Length: 1", b"X-Request-ID: %b", TELLING[3])
    found = head.read(data)
    assert found == (1, len(data) - 7, [b"00-22", b"1", b"%b"])
    fields = head.fields(found[2])
    assert fields == Fields(
        [
            (b"traceparent", b"00-22"),
            (b"Content-Length", b"1"),
            (b"X-Request-ID", b"%b"),
            (b"X-Other", b"a"),
        ]
    )
    assert fields.by_name[b"x-request-id"] == (b"%b",)
    assert head.marked(fields)[0][1] != b"00-22" and head.marked(fields)[3] == (b"X-Other", b"a")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (0, b"traceparent: 0 0"),  # a space could end in a line that is folded
        (0, b"traceparent:  00"),
        (0, b"traceparent: 00 "),
        (0, b"traceparent: 0\x000"),
        (0, b"traceparent: 0\n0"),
        (0, b"traceparent: 0\r0"),
        (0, b"traceparent: 0\xff0"),
        (0, b"traceparent: 0\r\n 0"),
        (0, b"traceparent: 0\r\nTransfer-Encoding: chunked"),
        (0, b"traceparent : 00"),
        (0, b"Traceparent: 00"),
        (0, b"traceparent: " + b"0" * 1025),
        (1, b"Content-Length: 7, 7"),
        (1, b"Content-Length: +7"),
        (1, b"Content-Length: "),
        (1, b"Content-Length: 1234567890"),
        (3, b"X-Other: b"),
        (3, b"X-Other: a\r\nContent-Length: 7"),
    ],
)
def test_what_could_be_seen_differently_is_left_to_the_parser(place: int, line: bytes) -> None:
    head = head_of(*TELLING)
    assert head.learn(data_of(*TELLING)) is not None
    assert head.read(data_of(*TELLING[:place], line, *TELLING[place + 1 :])) is None


def test_what_comes_twice_may_not_differ() -> None:
    lines = (b"b3: 1", b"Content-Length: 7", b"B3: 1")
    head = head_of(*lines)
    assert head.learn(data_of(*lines)) is not None and head.only_length
    assert head.read(data_of(b"b3: 2", *lines[1:])) is None


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 7", b"Content-Length: 7"),
        (b"Content-Length: 7", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 7", b"Upgrade: h2c"),
        (b"Content-Length:7",),
        (b"Content-Length: 7 ",),
        (b"Content-Length: 7\r\n 1",),
        (b"Content-Length: 7", b"X: 1\r\n\t2"),
        (b"Content-Length: 7\nX: 1",),
        (b"Content-Length: 7", b"X-Long: " + b"x" * KEPT_MAX),
        (b"Host: p",),
        (b"Content-Length: 1234567890",),
    ],
)
def test_what_is_not_plain_is_not_kept(lines: tuple[bytes, ...]) -> None:
    head = head_of(*lines)
    assert head.learn(data_of(*lines)) is None and head.read(data_of(*lines)) is None


def test_a_blank_line_in_front_is_not_plain() -> None:
    head = head_of(b"Content-Length: 7")
    assert head.learn(b"\r\n" + data_of(b"Content-Length: 7")) is None


def test_a_head_that_is_not_whole_is_not_known() -> None:
    head = head_of(*TELLING)
    whole = data_of(*TELLING, body=b"")
    assert head.learn(data_of(*TELLING)) is not None
    assert all(head.read(whole[:size]) is None for size in range(len(whole)))
    assert head.read(whole) is not None


def parsed(data: bytes) -> RawRequestMessage | None:
    """As the parser reads the head of one whole request with a length; None if it refuses it."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, max_field_size=32768)
        messages, _, _ = parser.feed_data(data)
    except (HttpProcessingError, ValueError):
        return None
    finally:
        loop.close()
    return messages[0][0] if len(messages) == 1 else None


_NAMES = [b"traceparent", b"Traceparent", b"x-request-id", b"b3", b"B3", b"X-Other"]
_NAMES += [b"content-length", b"Transfer-Encoding", b"x-request-id ", b" b3", b"", b"Connection"]
_VALUES = [b"1", b"22", b"abc-def", b"", b" 3", b"4 ", b"a b", b"\t5", b"%b", b"\xff", b"7", b"07"]
_VALUES += [b"1\r\nContent-Length: 7", b"1\nContent-Length: 0", b"1\r x: y", b"\0", b"chunked"]
_VALUES += [b"1\r\n 2", b"1\r\n\r\n", b"x" * 300, b"traceparent: 1", b"1\r\nb3: 2"]


@st.composite
def requests(draw: st.DrawFn) -> list[bytes]:
    """Several with the same fields, of which some values change, and now and then a name."""
    names = [*draw(st.lists(st.sampled_from(_NAMES), max_size=4)), b"Content-Length"]
    plain = st.sampled_from(_VALUES[:3])
    values = [draw(plain) for _ in names[:-1]] + [b"7"]
    sent = []
    for _ in range(draw(st.integers(2, 5))):
        for place in draw(st.lists(st.integers(0, len(names) - 1), max_size=2)):
            values[place] = draw(st.one_of(plain, st.sampled_from(_VALUES)))
        if draw(st.integers(0, 6)) == 0:
            names[draw(st.integers(0, len(names) - 1))] = draw(st.sampled_from(_NAMES))
        lines = [name + b": " + value for name, value in zip(names, values, strict=True)]
        sent.append(data_of(*lines))
    return sent


@settings(max_examples=examples(2000))
@given(requests())
def test_what_is_known_again_reads_as_to_the_parser(sent: list[bytes]) -> None:
    head: RequestHead | None = None
    by_key: dict[bytes, RequestHead] = {}
    for data in sent:
        found = None if head is None else head.read(data)
        message = parsed(data)
        if found is None:
            head = None
            if message is not None:
                head = RequestHead(message.method, message.path, (1, 1), message.raw_headers)
                found = head.learn(data)
            if head is None or found is None:
                head = None
                continue
            # Another one of the same key stands for it, on another connection too.
            assert head.key is not None
            head = by_key.setdefault(head.key, head)
        assert head is not None and message is not None
        length, start, values = found
        fields = head.fields(values)
        assert tuple(fields) == message.raw_headers
        named = {name: list(seen) for name, seen in fields.by_name.items()}
        assert named == Fields(message.raw_headers).by_name
        assert (head.method, head.target) == (message.method, message.path)
        assert data[start:] == b"1234567" and int(named[b"content-length"][0]) == length

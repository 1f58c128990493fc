"""Heads of answers: what is one, what is none, and that it does not matter how the network cuts
them."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.headers import Fields
from proxy.core.http.response_head import (
    FIELDS_MAX,
    HEAD_BYTES_MAX,
    LINE_BYTES_MAX,
    AnswerHead,
    HeadReader,
    MalformedAnswer,
    read_head,
)


def taken(data: bytes) -> tuple[bytes, bytes] | None:
    """The bytes of the head, and those that follow it."""
    found = HeadReader(read_head).take(data)
    return None if found is None else (found[0].raw, found[1])


def read(raw: bytes) -> AnswerHead:
    found = HeadReader(read_head).take(raw)
    assert found is not None and found[1] == b""
    return found[0]


FINE = {
    "plain": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\nA: b\r\n\r\n",
    "an empty reason": b"HTTP/1.1 200 \r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "a status of a vendor's own": b"HTTP/1.1 999 Request denied\r\n\r\n",
    "other letters": b"HTTP/1.1 200 caf\xc3\xa9 \xe9\r\nX: \xff\t\xe4\r\n\r\n",
    "no fields": b"HTTP/1.1 500 X\r\n\r\n",
    "an empty value": b"HTTP/1.1 200 OK\r\nServer:\r\n\r\n",
}
REFUSED = {
    "bare LF": b"HTTP/1.1 200 OK\nA: b\n\n",
    "bare LF at the end": b"HTTP/1.1 200 OK\r\nA: b\n\r\n",
    "bare LF behind one field": b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    "a 408 as a load balancer wrote it": b"HTTP/1.0 408 Request Timeout\nConnection: close\n\n<html>",
    "bare CR": b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
    "SOH in a cookie": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=\x01\r\n\r\n",
    "DEL": b"HTTP/1.1 200 OK\r\nA: \x7f\r\n\r\n",
    "vertical tab": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "a field before its line": b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
    "a blank before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n",
    "a line without a colon": b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length\r\n\r\n",
    "a field without a name": b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "JSON alone": b'{"choices":[]}',
    "an event alone": b"data: {}\n\n",
    "ICY": b"ICY 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "no space": b"HTTP/1.1 200OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 X\r\n\r\n",
    "TLS to a plain port": b"\x15\x03\x01\x00\x02\x02\x46",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (FIELDS_MAX + 1) + b"\r\n",
    "a line too long": b"HTTP/1.1 200 OK\r\nA: " + b"x" * LINE_BYTES_MAX + b"\r\n\r\n",
    "too long": b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n",
    "too long and not over": b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX,
}


@pytest.mark.parametrize("head", FINE.values(), ids=FINE.keys())
def test_a_head_is_taken_and_what_follows_is_left(head: bytes) -> None:
    assert taken(head) == (head, b"")
    assert taken(b"\r\n\r\n" + head + b"rest\r\n\r\n") == (head, b"rest\r\n\r\n")


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_head_is_refused_as_soon_as_it_is_here(head: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        HeadReader(read_head).take(head)


@given(
    st.sampled_from([*FINE.values(), *REFUSED.values()][:-4]),
    st.lists(st.integers(1, 60), max_size=4),
)
def test_the_cuts_of_the_network_change_nothing(head: bytes, cuts: list[int]) -> None:
    def outcome(parts: list[bytes]) -> object:
        reader = HeadReader(read_head)
        taken = b""
        for part in parts:
            try:
                found = reader.take(part)
            except MalformedAnswer as fault:
                return str(fault)
            if found is not None:
                return found[0].raw
            taken += part
        return None

    whole = head + b"\r\n\r\n"  # what comes later shows the fault, where cuts hid it for a while
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    parts = [whole[start:end] for start, end in pairwise(places)]
    assert outcome(parts) == outcome([whole])


def test_an_end_of_line_in_two_parts_is_one() -> None:
    reader = HeadReader(read_head)
    assert reader.take(b"HTTP/1.1 200 OK\r") is None and reader.take(b"\nA: b\r") is None
    found = reader.take(b"\n\r\n")
    assert found is not None
    assert (found[0].raw, found[1]) == (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"")


def test_a_head_that_trickles_in_is_not_searched_again_and_again() -> None:
    reader = HeadReader(read_head)
    head = b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000 + b"\r\n\r\n"
    for at in range(len(head) - 1):
        assert reader.take(head[at : at + 1]) is None
    found = reader.take(head[-1:] + b"body")
    assert found is not None and (found[0].raw, found[1]) == (head, b"body")


CHUNKED = (b"Transfer-Encoding", b"chunked")


@pytest.mark.parametrize(
    ("status", "version", "headers", "expected"),
    [
        (200, (1, 1), [(b"Content-Length", b"5")], 5),
        (200, (1, 1), [(b"content-length", b"005")], 5),
        (200, (1, 1), [], None),
        (200, (1, 1), [CHUNKED], None),
        (200, (1, 1), [(b"transfer-encoding", b" Chunked ")], None),
        (200, (1, 0), [], None),
        (204, (1, 1), [(b"Content-Length", b"5")], 0),
        (304, (1, 1), [(b"Content-Length", b"500")], 0),
        (304, (1, 1), [CHUNKED], 0),
        (103, (1, 1), [(b"Content-Length", b"5"), CHUNKED], 0),
        (200, (1, 1), [(b"Content-Length", b"9" * 18)], 10**18 - 1),
        (200, (1, 1), [(b"Content-Length", b"9" * 19)], "one number"),
        (200, (1, 1), [(b"Content-Length", b"5"), (b"Content-Length", b"5")], "one number"),
        (200, (1, 1), [(b"Content-Length", b"5, 5")], "one number"),
        (200, (1, 1), [(b"Content-Length", b"+5")], "one number"),
        (200, (1, 1), [(b"Content-Length", b"")], "one number"),
        (200, (1, 1), [(b"Content-Length", b"5"), CHUNKED], "both"),
        (200, (1, 1), [CHUNKED, CHUNKED], "other than `chunked`"),
        (200, (1, 1), [(b"Transfer-Encoding", b"gzip, chunked")], "other than `chunked`"),
        (200, (1, 1), [(b"Transfer-Encoding", b"gzip")], "other than `chunked`"),
        (200, (1, 1), [(b"Transfer-Encoding", b"identity")], "other than `chunked`"),
        (200, (1, 1), [(b"Transfer-Encoding", b"chunked, chunked")], "other than `chunked`"),
        (200, (1, 0), [CHUNKED], "HTTP/1.0"),
    ],
)  # fmt: skip
def test_how_long_a_body_is(
    status: int,
    version: tuple[int, int],
    headers: list[tuple[bytes, bytes]],
    expected: int | str | None,
) -> None:
    fields = b"".join(b"%b: %b\r\n" % field for field in headers)
    raw = b"HTTP/%d.%d %d OK\r\n%b\r\n" % (*version, status, fields)
    if isinstance(expected, str):
        with pytest.raises(MalformedAnswer, match=expected):
            HeadReader(read_head).take(raw)
    else:
        head = read(raw)
        assert head.body_bytes == expected
        assert head.chunked is (expected is None and bool(headers))


_VALUES = st.sampled_from(
    [b"", b"x", b" ", b"a b", b"\t a\t ", b"caf\xc3\xa9", b"\xff", b"a:b", b"close", b"keep-alive"]
)
_CONNECTIONS = st.sampled_from([b"close", b"Close , x", b"keep-alive", b"Keep-Alive,close", b"x"])
_LINES = st.one_of(
    st.tuples(st.sampled_from([b"A", b"x-b", b"X-B", b"Set-Cookie", b"Keep-Alive"]), _VALUES),
    st.tuples(st.sampled_from([b"Connection", b"connection"]), _CONNECTIONS),
)
_FRAMINGS = st.sampled_from(
    [(), ((b"content-length", b"7"),), ((b"Transfer-Encoding", b"Chunked"),)]
)


def _parsed(raw: bytes) -> RawResponseMessage:
    """What aiohttp's parser reads in a head."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpResponseParser(
            BaseProtocol(loop), loop, 65536, read_until_eof=True, auto_decompress=False
        )
        messages, _, _ = parser.feed_data(raw)
        [(message, _)] = messages
        return message  # type: ignore[no-any-return]
    finally:
        loop.close()


@given(
    st.integers(0, 1),
    st.sampled_from([200, 204, 299, 304, 400, 502, 999]),
    st.sampled_from([b"", b" ", b" OK", b" Not  Found", b" caf\xc3\xa9"]),
    st.lists(_LINES, max_size=6),
    _FRAMINGS,
    st.sampled_from([b"", b" ", b"\t "]),
)
def test_a_head_reads_as_the_parser_of_a_library_reads_it(
    minor: int,
    code: int,
    reason: bytes,
    lines: list[tuple[bytes, bytes]],
    framing: tuple[tuple[bytes, bytes], ...],
    blank: bytes,
) -> None:
    if minor == 0 and framing and framing[0][1] == b"Chunked":
        framing = ()
    fields = b"".join(b"%b:%b%b\r\n" % (name, blank, value) for name, value in (*lines, *framing))
    raw = b"HTTP/1.%d %d%b\r\n%b\r\n" % (minor, code, reason, fields)
    head, message = read(raw), _parsed(raw)
    assert head.code == message.code
    assert head.reason.decode("utf-8", "surrogateescape") == message.reason
    assert tuple(head.headers) == message.raw_headers
    assert {name: list(values) for name, values in head.headers.by_name.items()} == Fields(
        message.raw_headers
    ).by_name
    said = b",".join(value for name, value in lines if name.lower() == b"connection").lower()
    both = b"close" in said and b"keep-alive" in said
    # an HTTP/1.0 answer that says both is the last one here; the library takes it for no end
    assert head.closes is (message.should_close or (both and minor == 0))
    assert head.chunked is (message.chunked and code not in (204, 304))


_PIECES = st.one_of(
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\x7f", b"\xff", b",", b"1"]
    ),
    st.sampled_from([b"Content-Length: 5\r\n", b"Content-Length:5,5\r\n", b"Content-Length"]),
    st.sampled_from([b"transfer-encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"]),
    st.sampled_from([b"Connection: close\r\n", b"A: b\r\n", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]),
)


@given(
    st.sampled_from(
        [*list(FINE.values()), b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\n"]
    ),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 3), _PIECES), min_size=1, max_size=4),
    st.lists(st.integers(1, 80), max_size=3),
)
def test_a_damaged_head_is_refused_or_reads_as_a_library_reads_it(
    head: bytes, damages: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    """Whatever came on the way: nothing else raises, no cutting changes it, and what is taken for a
    head is one to another reader too, with the same fields and the same end."""
    for at, removed, piece in damages:
        head = head[:at] + piece + head[at + removed :]
    head = head.rstrip(b"\r\n") + b"\r\n\r\n"
    places = [0, *sorted(cut for cut in cuts if cut < len(head)), len(head)]
    outcomes = []
    for parts in ([head], [head[start:end] for start, end in pairwise(places)]):
        reader = HeadReader(read_head)
        found = None
        try:
            for part in parts:
                found = reader.take(part) if found is None else (found[0], found[1] + part)
        except MalformedAnswer:
            outcomes.append(None)
        else:
            outcomes.append(found)
    assert outcomes[0] == outcomes[1]
    if outcomes[0] is None:
        return
    found_head, behind = outcomes[0]
    assert head.lstrip(b"\r\n") == found_head.raw + behind
    if found_head.code < 200:
        return
    message = _parsed(found_head.raw)
    assert (found_head.code, tuple(found_head.headers)) == (message.code, message.raw_headers)
    assert found_head.closes or not message.should_close
    assert found_head.chunked is (message.chunked and found_head.code not in (204, 304))

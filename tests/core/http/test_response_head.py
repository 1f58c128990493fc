"""Heads of answers: what is one, what is none, and that it does not matter how the network cuts
them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.response_head import HEAD_BYTES_MAX, HeadReader, MalformedAnswer, body_bytes

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
    "too long": b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n",
    "too long and not over": b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX,
}


@pytest.mark.parametrize("head", FINE.values(), ids=FINE.keys())
def test_a_head_is_taken_and_what_follows_is_left(head: bytes) -> None:
    assert HeadReader().take(head) == (head, b"")
    assert HeadReader().take(b"\r\n\r\n" + head + b"rest\r\n\r\n") == (head, b"rest\r\n\r\n")


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_head_is_refused_as_soon_as_it_is_here(head: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        HeadReader().take(head)


@given(
    st.sampled_from([*FINE.values(), *REFUSED.values()][:-2]),
    st.lists(st.integers(1, 60), max_size=4),
)
def test_the_cuts_of_the_network_change_nothing(head: bytes, cuts: list[int]) -> None:
    def outcome(parts: list[bytes]) -> object:
        reader = HeadReader()
        taken = b""
        for part in parts:
            try:
                found = reader.take(part)
            except MalformedAnswer as fault:
                return str(fault)
            if found is not None:
                return found[0]
            taken += part
        return None

    whole = head + b"\r\n\r\n"  # what comes later shows the fault, where cuts hid it for a while
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    parts = [whole[start:end] for start, end in pairwise(places)]
    assert outcome(parts) == outcome([whole])


def test_an_end_of_line_in_two_parts_is_one() -> None:
    reader = HeadReader()
    assert reader.take(b"HTTP/1.1 200 OK\r") is None and reader.take(b"\nA: b\r") is None
    assert reader.take(b"\n\r\n") == (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"")


def test_a_head_that_trickles_in_is_not_searched_again_and_again() -> None:
    reader = HeadReader()
    head = b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000 + b"\r\n\r\n"
    for at in range(len(head) - 1):
        assert reader.take(head[at : at + 1]) is None
    assert reader.take(head[-1:] + b"body") == (head, b"body")


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
    if isinstance(expected, str):
        with pytest.raises(MalformedAnswer, match=expected):
            body_bytes(status, version, headers)
    else:
        assert body_bytes(status, version, headers) == expected

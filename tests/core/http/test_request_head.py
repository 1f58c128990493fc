"""A head is known again by all of its bytes but the digits of its length, and only a plain one."""

from __future__ import annotations

import pytest

from proxy.core.http.request_head import KEPT_MAX, RequestHead, outline

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
    assert head.learn(data_of(*LINES))
    longer = outline(data_of(*(line.replace(b"7", b"12") for line in LINES), body=b"x" * 12))
    assert longer is not None and head.begins(longer[0]) and longer[1] == 12
    assert data_of(*LINES)[longer[2] - 1 :] == b"1234567"
    for number, line in enumerate(LINES):
        for changed in (line.replace(b"Length: 7", b"Length: 7 ") + b"1", line.upper()):
            other = outline(data_of(*LINES[:number], changed, *LINES[number + 1 :]))
            same = changed == b"Content-Length: 71"
            assert (other is not None and head.begins(other[0])) is same, changed
    for start in (b"POST /v1/y HTTP/1.1", b"PUT /v1/x HTTP/1.1", b"POST /v1/x HTTP/1.0"):
        other = outline(data_of(*LINES, start=start))
        assert other is not None and not head.begins(other[0])


@pytest.mark.parametrize(
    "lines",
    [
        (b"X-Length: 7", b"Content-Length: 7"),  # the first digits are another field's
        (b"Content-Length: 7", b"Content-Length: 7"),
        (b"Content-Length: 7", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 7", b"Upgrade: h2c"),
        (b"Content-Length:7",),
        (b"Content-Length: 7 ",),
        (b"Content-Length: 7\r\n 1",),
        (b"Content-Length: 7\nX: 1",),
        (b"Content-Length: 7", b"X-Long: " + b"x" * KEPT_MAX),
        (b"Host: p",),
        (b"Content-Length: 1234567890",),
    ],
)
def test_what_is_not_plain_is_not_kept(lines: tuple[bytes, ...]) -> None:
    head = head_of(*lines)
    assert not head.learn(data_of(*lines)) and not head.begins(b"") and head.key is None


def test_a_blank_line_in_front_is_not_plain() -> None:
    head = head_of(b"Content-Length: 7")
    assert not head.learn(b"\r\n" + data_of(b"Content-Length: 7"))


def test_a_head_that_is_not_whole_has_no_outline() -> None:
    whole = data_of(*LINES, body=b"")
    assert all(outline(whole[:size]) is None for size in range(len(whole)))
    assert outline(whole) is not None

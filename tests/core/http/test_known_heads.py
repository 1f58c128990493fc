"""A head that is known again reads as it does to who knows none, and whatever is not like it is read
anew."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http.headers import field_lines, inward_filter
from proxy.core.http.known_heads import HEADS_MAX, KEPT_BYTES_MAX, KnownHead, KnownHeads
from proxy.core.http.response_head import AnswerHead, MalformedAnswer, read_head
from tests.support.effort import examples

# As OpenAI answers behind Cloudflare: two cookies, both new each time.
VENDOR = (
    b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Connection: keep-alive\r\nx-ratelimit-remaining-requests: %d\r\nopenai-processing-ms: %d\r\n"
    b"set-cookie: a=%d; path=/\r\nset-cookie: b=%d; path=/\r\nx-100%%b: %d\r\n\r\n"
)


def vendors(number: int) -> bytes:
    date = b"Tue, 01 Dec 2026 00:00:%02d GMT" % (number % 60)
    return VENDOR % (date, 10**number, number, 7 * number, number, -number, number)


def facts(head: AnswerHead) -> tuple[object, ...]:
    """All that others read of it."""
    named = {name: list(values) for name, values in head.headers.by_name.items()}
    return (
        *(head.code, head.reason, tuple(head.headers), named),
        *(head.chunked, head.body_bytes, head.closes, head.raw),
    )


FILTERS = (
    inward_filter(),
    inward_filter(to_page=True),
    inward_filter(allow=["set-cookie", "access-control-allow-origin"]),
)


def outcomes(heads: Sequence[bytes]) -> list[tuple[object, object]]:
    """Of each head, what one reader finds who has read those before, and one who has not."""
    reader = KnownHeads()
    found = []
    for raw in heads:
        both: list[object] = []
        for read in (reader.read, read_head):
            try:
                head = read(raw)
            except MalformedAnswer as fault:
                both.append(str(fault))
            else:
                known = head.known
                lines = [
                    known.written(head, chosen)
                    if isinstance(known, KnownHead)
                    else field_lines(chosen.select(head.headers))
                    for chosen in FILTERS
                ]
                both.append((facts(head), lines))
        found.append((both[0], both[1]))
    return found


def test_a_vendors_head_is_known_from_the_third_on() -> None:
    heads = KnownHeads()
    assert [heads.read(vendors(number)).known is not None for number in range(1, 6)] == [
        *(False, False, True, True, True)
    ]
    for known, afresh in outcomes([vendors(number) for number in range(1, 8)]):
        assert known == afresh


_NAMES = [b"Date", b"date", b"X-Id", b"x-id", b"Content-Length", b"content-length", b"Vary"]
_NAMES += [b"Connection", b"Transfer-Encoding", b"Set-Cookie", b"Access-Control-Allow-Origin"]
_NAMES += [b"X-100%b", b"Bad Name", b"X-Id ", b" folded", b""]
_VALUES = [b"1", b"22", b"333", b" 4 ", b"", b"%b", b"close", b"keep-alive", b"chunked", b"x-id"]
_VALUES += [b"CHUNKED", b"gzip", b"5"]
_VALUES += [b"a: b", b"\t5", b"-1", b"1, 1", b"9" * 18, b"9" * 19, b"\xff", b"\0", b"\x7f", b"a\rb"]
_VALUES += [b"a\nb", b"\r\nX-Id: 1", b"\x001"]
_STARTS = [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 103 X"]
_STARTS += [b"HTTP/1.1 304 X", b"HTTP/1.1 500 X", b"HTTP/1.1 200 caf\xe9", b"HTTP/2.0 200 OK"]


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Heads with the same fields, in which some values change, and now and then all else."""
    start = draw(st.sampled_from(_STARTS))
    names = draw(st.lists(st.sampled_from(_NAMES), max_size=6))
    values = [draw(st.sampled_from(_VALUES)) for _ in names]
    heads = []
    for _ in range(draw(st.integers(2, 6))):
        for place in draw(st.lists(st.integers(0, 5), max_size=3)):
            if place < len(values):
                values[place] = draw(st.sampled_from(_VALUES))
        changed = draw(st.integers(0, 9))
        if changed == 0:
            start = draw(st.sampled_from(_STARTS))
        elif changed == 1 and names:
            names[draw(st.integers(0, len(names) - 1))] = draw(st.sampled_from(_NAMES))
        blank = draw(st.sampled_from([b"", b" ", b" ", b" \t"]))
        lines = [name + b":" + blank + value for name, value in zip(names, values, strict=True)]
        heads.append(b"\r\n".join([start, *lines, b"", b""]))
    return heads


@settings(max_examples=examples(2000))
@given(alike())
def test_who_has_read_others_before_reads_the_same(heads: list[bytes]) -> None:
    for known, afresh in outcomes(heads):
        assert known == afresh


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Connection: keep-alive", b"Connection: close"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 5,5"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6"),
        (b"Content-Length: 5", b"Content-Length : 5"),
        (b"Content-Length: 5", b"Content-Length: 5\r\n 6"),
        (b"Content-Length: 5", b"Content-Length: 5\n6"),
        (b"Content-Length: 5", b"Content-Length:\x0b5"),
        (b"Content-Length: 5", b"content-length: 6"),
    ],
)
def test_what_decides_where_an_answer_ends_is_read_anew(before: bytes, after: bytes) -> None:
    for start in (b"HTTP/1.1 200 OK\r\nA: b\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"):
        lines = (before, before.upper(), before, after, before, after)
        for known, afresh in outcomes([start + line + b"\r\n\r\n" for line in lines]):
            assert known == afresh


def test_what_is_remembered_is_bounded() -> None:
    heads = KnownHeads()
    several = [b"HTTP/1.1 %d X\r\nA: b\r\n\r\n" % (400 + n) for n in range(HEADS_MAX + 1)]
    for raw in several:
        heads.read(raw)
    assert [heads.read(raw).known is not None for raw in reversed(several)] == [True] * 8 + [False]
    for number in range(100):
        heads.read(b"HTTP/1.1 200 OK\r\nX-%d: 1\r\n\r\n" % number)
    assert heads.read(b"HTTP/1.1 200 OK\r\nX-99: 1\r\n\r\n").known is None, "it learns no more"
    long = b"HTTP/1.1 200 OK\r\nA: %b\r\n\r\n" % (b"x" * KEPT_BYTES_MAX)
    assert heads.read(long).known is None and heads.read(long).known is None

"""The event parser against a plain reading of the specification, in every framing and at every
split."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http.sse import LargeEnd, SSEParser, ends_at
from tests.support.effort import examples

FIXED = settings(max_examples=examples(300))
BIG = 1 << 20


def events_of(chunks: list[bytes], event_bytes_max: int = BIG) -> tuple[list[bytes], int]:
    parser = SSEParser(event_bytes_max)
    found = [event for chunk in chunks for event in parser.feed(chunk)]
    return found + parser.end(), parser.oversized


def by_the_book(stream: bytes, event_bytes_max: int = BIG) -> tuple[list[bytes], int]:
    """The specification, read over the whole stream at once; with an end added, since an
    unterminated last event is wanted too.

    Beyond it: a line that is an object is data, also behind a name that is not quite `data`, and an
    object on a data line
    behind another one is an event of its own.
    """
    events: list[bytes] = []
    data: list[bytes] = []
    size = oversized = 0
    by_lines = False  # an empty line was missing once: each line with a whole object is an event

    def end() -> None:
        nonlocal data, size, oversized
        if size > event_bytes_max:
            oversized += 1
        elif b"\n".join(data):
            events.append(b"\n".join(data))
        data, size = [], 0

    for line in [*re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        name, _, value = line.partition(b":")
        if not line:
            end()
            continue
        if name == b"data":
            value = value.removeprefix(b" ")
            again = re.fullmatch(rb"data: ?((?:\{|\[DONE\]).*)", value, re.DOTALL)
            value = value if again is None else again[1]
        elif (
            line.startswith(b"{")
            and (line.rstrip().endswith(b"}") or size + len(line) > event_bytes_max)
        ) or line == b"[DONE]":
            value = line
        elif name == b"error":
            value = value.lstrip()
        elif (
            odd := re.fullmatch(
                rb"\s{0,8}data:(?: ?data:)? ?((?:\{|\[DONE\]).*)", line, re.DOTALL | re.IGNORECASE
            )
        ) is not None:
            value = odd[1]
        else:
            continue
        closed = data and (
            data[-1].rstrip().endswith(b"}")
            or (data[-1].strip() == b"[DONE]" and size <= event_bytes_max)
        )
        begins = value.startswith(b"{") or value.strip() == b"[DONE]"
        if closed and begins:
            by_lines = True
            end()
        data.append(value)
        size += len(line)
        whole = value.rstrip().endswith(b"}") or value.strip() == b"[DONE]"
        if by_lines and begins and whole and len(data) == 1 and size <= event_bytes_max:
            end()
    return events, oversized


def test_a_line_too_long_counts_the_same_in_any_pieces_whatever_its_name_is_like() -> None:
    for blanks in (0, 1, 8, 9, 200):
        for name in (
            b"data: {",
            b"Data: {",
            b"DATA:data: {",
            b"data: [DONE]",
            b"date: {",
            b"{data: ",
            b"error: {",
        ):
            large = b" " * blanks + name + b"x" * 100
            stream = b"data: {}\n\ndata: " + b"x" * 100 + b"}\n" + large + b"\n\ndata: {}\n\n"
            expected = by_the_book(stream, 60)
            for chunks in every_split(stream):
                parser = SSEParser(60)
                events = [event for chunk in chunks for event in parser.feed(chunk)]
                assert (events + parser.end(), parser.oversized) == expected, chunks


def every_split(stream: bytes) -> list[list[bytes]]:
    splits = [[stream[:at], stream[at:]] for at in range(len(stream) + 1)]
    return [*splits, [stream[at : at + 1] for at in range(len(stream))], [stream]]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\ndata\n\n", [b"\n"]),
        (b"data: \n\ndata:\n\ndata\n\n", []),
        (b": OPENROUTER PROCESSING\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n: c\n\n", [b"a"]),
        (b"database: no\nDATA: no\n data: no\n\ndata: a\n\n", [b"a"]),
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"data: a\ndat", [b"a"]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n", [b"a", b"\xef\xbb\xbfb"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        ("data: 好\u2028\x85\x0b\n\n".encode(), ["好\u2028\x85\x0b".encode()]),
        (b"\xef\xbb", []),
        (b"", []),
        (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
        (
            b'data: {\ndata: "a": [\ndata: {\ndata: "b": 1}\ndata: , {}\ndata: ]}\n\n',
            [b'{\n"a": [\n{\n"b": 1}\n, {}\n]}'],
        ),
        (
            b'data: {"a":1}\ndata: {"b":2}\ndata: {\ndata: "c": 1\ndata: }\n\ndata: {}\n',
            [b'{"a":1}', b'{"b":2}', b'{\n"c": 1\n}', b"{}"],
        ),
        (b'{"a":1}\n{"b":2}\n[DONE]\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
        (b'data: {"a":1}\n\n{"b":2}\n\ndata: [DONE]\n\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
        (
            b'data: data: {"a":1}\n\ndata: data: {"b":2}\n\ndata:data:[DONE]\n\n',
            [b'{"a":1}', b'{"b":2}', b"[DONE]"],
        ),
        (b'data: {"a":1}\nevent: error\ndata: {"b":2}\n\n', [b'{"a":1}', b'{"b":2}']),
        (b'error: {"a":1}\n\n', [b'{"a":1}']),
        (
            b' data: {"a":1}\n\nData:{"b":2}\n\n\tDATA: [DONE]\n\n data: c\n\n',
            [b'{"a":1}', b'{"b":2}', b"[DONE]"],
        ),
        (b'{ pretty\n"a": 1\n}\n\n', []),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_events_do_not_depend_on_chunks_or_line_ends(
    stream: bytes, expected: list[bytes], line_end: bytes
) -> None:
    stream = stream.replace(b"\n", line_end)
    assert by_the_book(stream)[0] == expected
    for chunks in every_split(stream):
        assert events_of(chunks)[0] == expected, chunks


PARTS = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"x",
        b" ",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b"data: abcdefgh\n\n",
        b": ping\n",
        b"\x00\xff",
        b"{",
        b"}",
        b"data: {}\n",
        b"{}\n",
        b"[DONE]",
        b"error:",
        b"Data: ",
    ]
)


@FIXED
@given(st.lists(st.one_of(PARTS, st.binary(max_size=6)), max_size=25), st.data())
def test_any_bytes_in_any_chunks_read_as_the_specification_says(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    bound = data.draw(st.sampled_from([12, 20, BIG]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [
        stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    ]
    expected = by_the_book(stream, bound)
    assert events_of(chunks, bound) == expected
    assert events_of(parts, bound) == expected
    assert events_of([stream[at : at + 1] for at in range(len(stream))], bound) == expected


@pytest.mark.parametrize(
    "large",
    [
        b"data: " + b"x" * 200,
        b"data: " + b"x" * 50 + b"\ndata: " + b"y" * 60,
        b"data: " + b"x" * 200 + b"\nid: 1\ndata: more",
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_too_large_event_is_dropped_counted_and_left_behind(
    large: bytes, line_end: bytes
) -> None:
    stream = (b"data: a\n\n" + large + b"\n\ndata: b\n\n").replace(b"\n", line_end)
    for chunks in every_split(stream):
        assert events_of(chunks, 100) == ([b"a", b"b"], 1), chunks


def test_what_a_too_large_event_held_does_not_depend_on_the_pieces() -> None:
    """An estimate is made of it; lines that are no data are none of it, however long."""
    for line in (b"x" * 200, b"data:" + b"y" * 200, b": " + b"z" * 200, b"data"):
        stream = b"data: " + b"x" * 150 + b"\n" + line + b"\ndata: more\n\ndata: b\n\n"
        held = set()
        for chunks in every_split(stream):
            parser = SSEParser(100)
            assert [event for chunk in chunks for event in parser.feed(chunk)] == [b"b"]
            held.add(parser.dropped_bytes)
        assert held == {156 + len(line) * line.startswith(b"data") + 10}, line


@pytest.mark.parametrize(
    "event",
    [
        b"data: " + b"x" * 50 + b"END",
        b"data: " + b"x" * 30 + b"\ndata: " + b"y" * 5 + b"END",
        b"data: {}\r\n: " + b"c" * 60 + b"\r\ndata: x\r\ndata: " + b"y" * 40 + b"END",
        b"\xef\xbb\xbfdata: " + b"x" * 50 + b"\ndata: END",
        b"data: {}\ndata: {" + b"x" * 50 + b"END}",
        b"data: {" + b"x" * 50 + b"END}\ndata: [DONE]",
    ],
)
def test_the_end_of_a_too_large_event_is_the_same_in_any_pieces(event: bytes) -> None:
    stream = event + b"\n\ndata: small\n\n"
    found: set[tuple[bytes, ...]] = set()
    for chunks in every_split(stream):
        parser = SSEParser(40, end_bytes_max=16)
        events = [one for chunk in chunks for one in parser.feed(chunk)] + parser.end()
        (end,) = (one for one in events if type(one) is LargeEnd)
        assert b"END" in end and len(end) <= 16
        assert events[-1] == b"small"
        found.add(tuple(events))
    assert len(found) == 1


def test_a_comment_of_any_length_is_no_event_and_costs_none() -> None:
    stream = b"data: a\n: " + b"x" * 500 + b"\n\ndata: b\n\n"
    for chunks in every_split(stream):
        assert events_of(chunks, 100) == ([b"a", b"b"], 0)


def test_what_is_kept_of_an_endless_line_is_bounded() -> None:
    for start in (b"data: ", b": "):
        parser = SSEParser(1000)
        parser.feed(start)
        for _ in range(1000):
            parser.feed(b"x" * 1000)
        assert len(parser._line) <= 1003 + 1000


def test_each_byte_is_looked_at_once() -> None:
    """Counted, not timed: a long line in small pieces must not be copied or searched again for each
    of them."""

    class Counting(bytes):
        searched = 0

        def splitlines(self, keepends: bool = False) -> list[bytes]:
            Counting.searched += len(self)
            return bytes(self).splitlines(keepends)

    parser = SSEParser(BIG)
    line = b"data: " + b"x" * 50_000 + b"\n\n"
    events = [
        event
        for at in range(0, len(line), 10)
        for event in parser.feed(Counting(line[at : at + 10]))
    ]
    assert [len(event) for event in events] == [50_000]
    assert Counting.searched <= len(line)


@pytest.mark.parametrize(
    ("chunk", "end"),
    [
        (b"", 0),
        (b"data: a", 0),
        (b"data: a\n", 0),
        (b"a\n\nb", 3),
        (b"a\n\nb\n\nc\n", 6),
        (b"a\r\n\r\nb\r\n", 5),
        (b"a\r\rb\r", 3),
        (b"a\n\nb\r\n\r\nc", 8),
        (b"\n\n", 2),
    ],
)
def test_where_the_last_whole_event_of_a_piece_ends(chunk: bytes, end: int) -> None:
    assert ends_at(chunk) == end


@pytest.mark.parametrize(
    ("chunk", "end"),
    [(b"", 0), (b"data: a", 0), (b"a\nb", 2), (b"a\r\nb\r\nc", 6), (b"a\rb", 2), (b"a\n", 2)],
)
def test_where_a_line_is_an_event_the_last_line_end_counts(chunk: bytes, end: int) -> None:
    assert ends_at(chunk, by_lines=True) == end


def test_events_that_end_with_their_line_leave_nothing_pending() -> None:
    """The text of one that waits for its end is measured by its bytes, and a limit that cuts waits
    for it."""
    parser = SSEParser(BIG)
    line = b'data: {"a":1}\n'
    assert parser.feed(line) == []  # it may go on
    assert parser.feed(line) == [b'{"a":1}', b'{"a":1}']
    assert parser.by_lines and parser.between and parser.pending_bytes == 0
    assert parser.feed(line) == [b'{"a":1}']
    assert parser.feed(b"\n" + line) == [b'{"a":1}']


@pytest.mark.parametrize(
    ("stream", "errors"),
    [
        (b'event: error\ndata: {"message":"no"}\n\n', 1),
        (b"event:error\n\n", 1),
        (b'error: {"code":500}\n\n', 1),
        (b"event: message\ndata: {}\n\n", 0),
        (b"errors: x\n\nevent: errors\n\n", 0),
    ],
)
def test_an_event_that_is_called_an_error_is_told(stream: bytes, errors: int) -> None:
    for chunks in every_split(stream):
        parser = SSEParser(BIG)
        for chunk in chunks:
            parser.feed(chunk)
        assert parser.errors == errors

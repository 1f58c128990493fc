"""Bodies by how they end: whole at their end, bounded while nobody reads them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.dataplane.upstream.body import (
    WAITING_BYTES_MAX,
    Body,
    ChunkedBody,
    CountedBody,
    WholeBody,
)


class Wire:
    """A connection that says whether it is read."""

    def __init__(self) -> None:
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=5), st.integers(0, 45))
def test_it_takes_what_is_its_own_and_no_byte_more(
    data: bytes, cuts: list[int], length: int
) -> None:
    body, got = CountedBody(Wire(), length), b""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        body.keep(body.take(data[start:end]))
        if start % 2:
            got += body.read_nowait()
    assert body.is_eof() is (len(data) >= length)
    got += body.read_nowait()
    assert got == data[:length]
    assert body.surplus is (len(data) > length)
    assert body.at_eof() is body.is_eof()


def test_it_is_over_only_once_it_is_read() -> None:
    body = CountedBody(Wire(), 2)
    body.keep(body.take(b"{}"))
    assert body.is_eof() and not body.at_eof()
    assert body.read_nowait() == b"{}" and body.at_eof()
    assert CountedBody(Wire(), 0).at_eof()


def test_its_connection_is_read_no_further_while_too_much_waits() -> None:
    wire = Wire()
    body = CountedBody(wire, 10 * WAITING_BYTES_MAX)
    body.keep(b"x" * WAITING_BYTES_MAX)
    assert not wire.paused
    body.keep(b"x")
    assert wire.paused
    assert len(body.read_nowait()) == WAITING_BYTES_MAX + 1
    assert not wire.paused


def test_one_in_chunks_is_over_with_the_last_and_frees_its_connection_unless_fields_came() -> None:
    for end, frees in ((b"0\r\n\r\n", True), (b"0\r\nx: 1\r\n\r\n", False)):
        body = ChunkedBody(Wire())
        body.keep(body.take(b"2\r\n{}\r\n" + end[:3]))
        assert (body.read_nowait(), body.is_eof(), body.frees) == (b"{}", False, False)
        body.closed()
        assert not body.is_eof(), "a connection that is closed makes it no whole"
        body.keep(body.take(end[3:]))
        assert (body.at_eof(), body.frees, body.surplus) == (True, frees, False)
        body.take(b"HTTP/1.1 200 OK")
        assert body.surplus


def test_one_in_chunks_says_what_is_wrong_with_it() -> None:
    body = ChunkedBody(Wire())
    assert body.take(b"2\r\n{}\r\n2\n{}\r\n") == b"{}"
    assert body.fault is not None and not body.is_eof()


def test_one_that_ends_with_its_connection_never_frees_it() -> None:
    body = Body(Wire())
    body.keep(body.take(b"all"))
    assert not body.is_eof()
    body.closed()
    assert (body.is_eof(), body.at_eof(), body.read_nowait(), body.at_eof()) == (
        True,
        False,
        b"all",
        True,
    )
    assert not body.frees


def test_a_whole_body_is_over_once_it_is_read_and_takes_nothing_more() -> None:
    body = WholeBody(Wire(), b"{}")
    assert body.is_eof() and not body.at_eof() and body.frees
    assert body.read_nowait() == b"{}" and body.at_eof()
    assert body.take(b"HTTP/1.1 200 OK") == b"" and body.surplus

"""A body of known length: whole at its last byte, bounded while nobody reads it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.dataplane.upstream.body import WAITING_BYTES_MAX, CountedBody


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
    body, got, fits = CountedBody(Wire(), length), b"", True
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        fits = body.feed(data[start:end]) and fits
        if start % 2:
            got += body.read_nowait()
    assert body.is_eof() is (len(data) >= length)
    got += body.read_nowait()
    assert got == data[:length]
    assert fits is (len(data) <= length)
    assert body.at_eof() is body.is_eof()


def test_it_is_over_only_once_it_is_read() -> None:
    body = CountedBody(Wire(), 2)
    assert body.feed(b"{}") and body.is_eof() and not body.at_eof()
    assert body.read_nowait() == b"{}" and body.at_eof()
    assert CountedBody(Wire(), 0).at_eof()


def test_its_connection_is_read_no_further_while_too_much_waits() -> None:
    wire = Wire()
    body = CountedBody(wire, 10 * WAITING_BYTES_MAX)
    body.feed(b"x" * WAITING_BYTES_MAX)
    assert not wire.paused
    body.feed(b"x")
    assert wire.paused
    assert len(body.read_nowait()) == WAITING_BYTES_MAX + 1
    assert not wire.paused

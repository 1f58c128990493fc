"""What is open: the room promised to it, and the segments that it keeps."""

from __future__ import annotations

import pytest

from proxy.journal.open_exchanges import OpenExchange, OpenExchanges
from tests.journal.builders import unwritten


def test_the_books_at_each_step() -> None:
    openings, first, second = OpenExchanges(), unwritten(1), unwritten(2)
    a, b = OpenExchange(b"a", 500, 200, first), OpenExchange(b"b", 700, 30, first)

    def books() -> tuple[int, int, int, int]:
        return len(openings), openings.kept, first.unresolved, second.unresolved

    steps = [
        # step                                       returns   open  kept  first  second
        (lambda: openings.add("a", a),               None,     (1,   700,  1,     0)),
        (lambda: openings.add("b", b),               None,     (2,   1430, 2,     0)),
        (lambda: openings.get("b"),                  b,        (2,   1430, 2,     0)),
        (lambda: openings.in_segment(first),         [a, b],   (2,   1430, 2,     0)),
        (lambda: openings.spend(a, 150),             True,     (2,   1280, 2,     0)),
        (lambda: openings.spend(a, 51),              False,    (2,   1280, 2,     0)),
        (lambda: openings.spend(a, 40),              True,     (2,   1240, 2,     0)),
        (lambda: openings.spend(b, 30),              True,     (2,   1210, 2,     0)),
        (lambda: openings.move(a, second),           None,     (2,   1210, 1,     1)),
        (lambda: openings.in_segment(second),        [a],      (2,   1210, 1,     1)),
        (lambda: openings.resolve("a"),              a,        (1,   700,  1,     0)),
        (lambda: openings.resolve("a"),              None,     (1,   700,  1,     0)),
        (lambda: openings.get("a"),                  None,     (1,   700,  1,     0)),
        (lambda: openings.resolve("b"),              b,        (0,   0,    0,     0)),
    ]  # fmt: skip
    for number, (step, returned, expected) in enumerate(steps):
        assert (step(), books()) == (returned, expected), f"step {number}"
    assert (a.segment, b.segment) == (None, None), "who still holds one sees that it has ended"


def test_an_exchange_is_opened_once() -> None:
    openings = OpenExchanges()
    openings.add("a", OpenExchange(b"a", 500, 200, unwritten(1)))
    with pytest.raises(AssertionError, match="opened once"):
        openings.add("a", OpenExchange(b"a", 500, 200, unwritten(1)))

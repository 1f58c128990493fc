"""A chunked body out of its chunks: in any pieces, and as aiohttp's parser reads it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.http.chunked import ChunkedReader, small_chunks
from tests.support.effort import examples

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"n":1}\n\n'


def chunk(data: bytes, size: bytes | None = None, end: bytes = b"\r\n") -> bytes:
    return (b"%x\r\n" % len(data) if size is None else size) + data + end


def read(data: bytes, cuts: tuple[int, ...] = ()) -> tuple[bytes, bool, bool]:
    """The body, whether it is over, and whether it is none."""
    reader, body, at = ChunkedReader(), b"", 0
    for cut in (*cuts, len(data)):
        body += reader.feed(data[at:cut])
        at = cut
    return body, reader.over, reader.fault is not None


def parsed(data: bytes) -> tuple[bytes, bool, bool]:
    """The same by aiohttp's parser."""
    loop = asyncio.new_event_loop()
    try:
        protocol = BaseProtocol(loop)
        parser = HttpResponseParser(protocol, loop, 2**20, max_line_size=65536)
        [(_, body)], _, _ = parser.feed_data(HEAD)
        fault = False
        try:
            parser.feed_data(data)
        except Exception:
            fault = True
        return body.read_nowait(), body.is_eof(), fault
    finally:
        loop.close()


def chunks() -> st.SearchStrategy[bytes]:
    """Mostly small ones of an event, as streams are; and what is told from them only by a look."""
    data = st.one_of(
        st.integers(0, 40).map(lambda size: b"data: %b\n\n" % (b"x" * size)),
        st.sampled_from(
            [b"a\r\nb", b"\r\n", b"\r\n3\r\nabc\r\n", b"x" * 1023, b"x" * 1024, b"y" * 5000]
        ),
    )
    return st.tuples(data, st.sampled_from([b"%x\r\n", b"%X\r\n", b"0%x\r\n", b"%x;a\r\n"])).map(
        lambda both: chunk(both[0], both[1] % len(both[0]))
    )


WHOLE = chunk(EVENT) + chunk(b"x" * 300) + chunk(b"y") + b"0\r\n\r\n"
FORGIVEN = {
    "upper case": chunk(b"z" * 10, b"A\r\n") + b"0\r\n\r\n",
    "zeros in front": chunk(b"abc", b"0003\r\n") + b"000\r\n\r\n",
    "an extension": chunk(b"abc", b"3;name=value\r\n") + b"0;last\r\n\r\n",
    "blanks": chunk(b"abc", b"3  \r\n") + b"0\r\n\r\n",
    "LF behind data": chunk(b"abc") + chunk(b"def", end=b"\n") + chunk(b"g") + b"0\r\n\r\n",
    "LF behind a field": chunk(b"abc") + b"0\r\nx-checksum: 1\n\r\n",
    "a trailer": chunk(b"abc") + b"0\r\nx-checksum: 1\r\nx-other: 2\r\n\r\n",
}
BROKEN = {
    "no size": chunk(b"abc", b"\r\n"),
    "a sign": chunk(b"abc", b"+3\r\n"),
    "a prefix": chunk(b"abc", b"0x3\r\n"),
    "an underscore": chunk(b"a" * 16, b"1_0\r\n"),
    "a blank in front": chunk(b"abc", b" 3\r\n"),
    "a word": chunk(b"abc", b"three\r\n"),
    "a LF alone": chunk(b"abc", b"3\n"),
    "a CR alone": chunk(b"abc", b"3\r"),
    "data beyond the size": chunk(b"abcd", b"3\r\n"),
    "a size beyond all": chunk(b"abc", b"f" * 17 + b"\r\n"),
}


@settings(max_examples=examples(600))
@given(
    st.lists(chunks(), max_size=12),
    st.sampled_from([b"0\r\n\r\n", b"0\r\na: b\r\n\r\n", b"", b"5\r\nab", b"x\r\n", b"1f\r"]),
    st.lists(st.integers(0, 600), max_size=2),
)
def test_many_at_once_are_read_as_one_by_one(
    before: list[bytes], end: bytes, cuts: list[int]
) -> None:
    data = b"".join(before) + end
    assert read(data, tuple(sorted(cuts))) == read(data, tuple(range(len(data))))


def test_small_chunks_end_at_the_first_that_is_not_one() -> None:
    event = chunk(EVENT)
    at = len(event)
    for other in (b"", chunk(b"a\r\nb"), chunk(b"x" * 5000), b"0\r\n\r\n", event[:-1], event[:3]):
        assert small_chunks(event * 4 + other, at) == ([EVENT] * 3, 4 * at)
    assert small_chunks(b"4\r\nabc\r\n" + event, 0) == ([], 0), "its size is not its length"


@pytest.mark.parametrize("data", [WHOLE, *FORGIVEN.values()], ids=["usual", *FORGIVEN])
def test_every_cut_gives_the_same_body(data: bytes) -> None:
    body = read(data)[0]
    assert read(data) == (body, True, False) == parsed(data)
    for first in range(len(data) + 1):
        assert read(data, (first,)) == (body, True, False)
    assert read(data, tuple(range(len(data)))) == (body, True, False)


@pytest.mark.parametrize("data", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("before", [b"", chunk(EVENT)], ids=["first", "later"])
def test_what_is_no_chunk_ends_it_and_what_came_before_is_kept(data: bytes, before: bytes) -> None:
    whole = before + data + chunk(b"next") + b"0\r\n\r\n"
    assert parsed(whole)[2]
    for cuts in ((), tuple(range(len(whole)))):
        body, over, fault = read(whole, cuts)
        assert fault and not over
        assert body.startswith(EVENT if before else b"")
        assert b"next" not in body


def test_what_follows_the_end_is_not_read() -> None:
    reader = ChunkedReader()
    assert reader.feed(WHOLE + b"HTTP/1.1 200 OK") == EVENT + b"x" * 300 + b"y"
    assert reader.over and reader.surplus and reader.feed(b"more") == b""


def test_fields_behind_the_last_chunk_are_told() -> None:
    for data, trailed in ((WHOLE, False), (FORGIVEN["a trailer"], True)):
        reader = ChunkedReader()
        reader.feed(data)
        assert (reader.over, reader.trailed, reader.surplus) == (True, trailed, False)


@pytest.mark.parametrize("endless", [b"3;" + b"x" * 20_000, b"0\r\n" + b"a: b\r\n" * 20_000])
def test_nothing_grows_without_bound(endless: bytes) -> None:
    assert read(endless)[2]
    assert read(endless, tuple(range(0, len(endless), 100)))[2]


def damaged(seed: random.Random) -> Iterator[bytes]:
    """Bodies that are right but for a byte or two."""
    for _ in range(400):
        parts = [chunk(seed.randbytes(seed.randrange(1, 40))) for _ in range(seed.randrange(4))]
        data = bytearray(b"".join(parts) + b"0\r\n\r\n")
        for _ in range(seed.randrange(3)):
            data[seed.randrange(len(data))] = seed.choice(
                b"\r\n 0;aG" + bytes([seed.randrange(256)])
            )
        yield bytes(data)


def test_damage_is_read_as_by_the_parser() -> None:
    """Where the two differ, this one is stricter or looks no further, and never gives more."""
    seed = random.Random(1)
    agreed = 0
    for data in damaged(seed):
        theirs, ours = parsed(data), read(data)
        agreed += theirs == ours
        cuts = tuple(sorted(seed.sample(range(len(data) + 1), min(3, len(data)))))
        assert read(data, cuts) == ours
        if not theirs[2] and not ours[2]:
            assert ours == theirs
    assert agreed > 380

"""Lists are read in a moment, or not at all."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.dialects.lists import ENTRIES_MAX, ListDecoder, TooMuch, check_small


class Entry(msgspec.Struct):
    a: int = 0


@pytest.mark.parametrize(
    ("text", "right"),
    [(b"[]", []), (b'[{"a":1},{}]', [1, 0]), (b'[{"a":1},null,7,"x"]', [1]), (b'{"a":2}', [2]), (b"null", []), (b'"x"', [])],
)  # fmt: skip
def test_entries_that_are_objects_are_read(text: bytes, right: list[int]) -> None:
    assert [entry.a for entry in ListDecoder(Entry).decode(text)] == right


@pytest.mark.parametrize("entry", [b"{}", b'{"a":1,"b":"' + b"x" * 40 + b'"}'])
def test_one_entry_too_many_ends_it(entry: bytes) -> None:
    decoder = ListDecoder(Entry)
    assert len(decoder.decode(b"[" + b",".join([entry] * ENTRIES_MAX) + b"]")) == ENTRIES_MAX
    with pytest.raises(TooMuch):
        decoder.decode(b"[" + b",".join([entry] * (ENTRIES_MAX + 1)) + b"]")


def test_a_long_list_says_what_a_short_one_says() -> None:
    long = b'{"a":1,"b":"' + b"x" * 70_000 + b'"}'
    decoder = ListDecoder(Entry)
    assert [entry.a for entry in decoder.decode(b"[" + long + b', null ,{"a":2}]')] == [1, 2]
    assert decoder.decode(b"[" + b" " * 70_000 + b"]") == []
    with pytest.raises(TooMuch):
        decoder.decode(b"[" + long + b",7]")
    with pytest.raises(msgspec.DecodeError):
        decoder.decode(b"[" + long + b",")


def test_a_value_of_many_small_ones_is_too_much() -> None:
    check_small(b'"' + b"x" * 1_000_000 + b'"')
    with pytest.raises(TooMuch):
        check_small(b"[" + b"[]," * 30_000 + b"1]")

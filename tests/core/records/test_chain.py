"""A walk over a chain: what it says of each kind of change, and that it can go on anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from proxy.core.records.canonical import (
    COLUMNS,
    GENESIS,
    HASH_VERSION,
    Value,
    chained,
    key_name,
    row_values,
    seal,
)
from proxy.core.records.chain import ChainPlace, ChainWalk, Head, Link, row_text
from tests.ledger.samples import KEY, make_record

AT_MS = 7
OTHER = bytes(32)


def links(count: int) -> list[Link]:
    """A chain of so many rows."""
    found: list[Link] = []
    last = GENESIS
    for seq in range(1, count + 1):
        values = row_values(make_record(seq), seq, AT_MS)
        row_hash = chained(last, values)
        text = row_text(dict(zip(COLUMNS, (*values, last, row_hash), strict=True)))
        assert text is not None
        found.append((seq, text, last, row_hash))
        last = row_hash
    return found


def head(link: Link, key: bytes = KEY) -> Head:
    """The seal of a row."""
    row_hash = link[3]
    assert isinstance(row_hash, bytes)
    return link[0], row_hash, AT_MS, key_name(key), seal(key, link[0], AT_MS, row_hash)


def walked(
    rows: Sequence[Link], heads: Sequence[Head], *, through: int, key: bytes | None = KEY
) -> ChainWalk:
    walk = ChainWalk(ChainPlace(through), key)
    walk.page(rows, heads, lambda seq: next(("id", row[1]) for row in rows if row[0] == seq))
    walk.end()
    return walk


def said(rows: Sequence[Link], heads: Sequence[Head], through: int = 4) -> list[str]:
    return [finding.what for finding in walked(rows, heads, through=through).findings]


def test_a_chain_is_walked_in_pages_of_any_size() -> None:
    rows = links(7)
    for size in range(1, 8):
        place = ChainPlace(7)
        for start in range(0, 7, size):
            part = rows[start : start + size]
            told = msgspec.json.decode(msgspec.json.encode(place), type=ChainPlace)
            walk = ChainWalk(told, KEY)
            walk.page(part, [head(row) for row in part if row[0] in (3, 7)], lambda _: ("id", None))
            place = walk.place
        walk.end()
        assert walk.findings == [] and place.seq == place.sealed == 7


def swapped(rows: list[Link]) -> list[Link]:
    """Rows 2 and 3 in each other's place."""
    second, third = rows[1], rows[2]
    return [rows[0], (2, *third[1:]), (3, *second[1:]), rows[3]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows: [*rows[:1], *rows[2:]], ["rows between are missing"]),
        (lambda rows: [*rows[:1], (*rows[1][:1], b"[]", *rows[1][2:]), *rows[2:]], ["changed"]),
        (
            lambda rows: [*rows[:1], (*rows[1][:2], OTHER, rows[1][3]), *rows[2:]],
            ["its prev_hash was changed"],
        ),
        (
            lambda rows: [*rows[:1], (*rows[1][:3], OTHER), *rows[2:]],
            ["changed since", "does not follow"],
        ),
        (lambda rows: [*rows[:1], (*rows[1][:3], "text"), *rows[2:]], ["changed", "not follow"]),
        (swapped, ["does not follow", "does not follow", "does not follow"]),
        (lambda rows: [], ["the rows it covers are missing", "the last ones are missing"]),
        (lambda rows: rows[:3], ["the rows it covers are missing", "the last ones are missing"]),
    ],
)
def test_each_change_is_told(change: Callable[[list[Link]], list[Link]], what: list[str]) -> None:
    rows = links(4)
    told = said(change(rows), [head(rows[3])])
    assert len(told) == len(what), told
    assert all(part in line for part, line in zip(what, told, strict=True)), told


def test_a_text_made_in_another_way_is_no_change() -> None:
    """The database may escape a character in another way than the record was hashed."""
    rows = links(3)
    quick = [(seq, b"other", prev, own) for seq, _, prev, own in rows]
    walk = ChainWalk(ChainPlace(3), KEY)
    walk.page(quick, [head(rows[2])], lambda seq: ("id", rows[seq - 1][1]))
    walk.end()
    assert walk.findings == [] and walk.rows == 3


def test_a_row_of_an_unknown_version_is_told() -> None:
    rows = links(1)
    walk = ChainWalk(ChainPlace(1), KEY)
    walk.page([(1, b"", *rows[0][2:])], [head(rows[0])], lambda _: ("id", None))
    assert "hash_version is not known" in walk.findings[0].what


@pytest.mark.parametrize("place", range(5))
def test_a_seal_with_anything_else_in_it_is_told(place: int) -> None:
    rows = links(4)
    for value in ("text", 5, None, OTHER):
        if place == 0 and not isinstance(value, int):
            continue  # a key of the table is a number
        forged = list(head(rows[3]))
        forged[place] = value
        foreign = place == 3
        walk = walked(rows, [head(rows[1]), tuple(forged)], through=4)  # type: ignore[list-item]
        assert walk.findings, (place, value)
        assert walk.foreign == foreign


def test_seals_of_another_key_are_counted_and_told_only_behind_ones_of_this_key() -> None:
    rows = links(4)
    mine, theirs = head(rows[1]), head(rows[3], b"other")
    walk = walked(rows, [mine, theirs], through=4)
    assert (walk.seals, walk.foreign) == (2, 1)
    assert [finding.what for finding in walk.findings] == [
        "seal of seq 4: made with another key than those before it"
    ]
    walk = walked(rows, [head(rows[1], b"other"), head(rows[3])], through=4)
    assert (walk.seals, walk.foreign, walk.findings) == (2, 1, [])
    walk = walked(rows, [mine, theirs], through=4, key=None)
    assert (walk.seals, walk.foreign, walk.findings) == (2, 2, [])


def test_rows_without_a_seal_are_told() -> None:
    rows = links(4)
    assert said(rows, [head(rows[2])]) == ["rows after seq 3 are not sealed"]


def test_the_text_of_a_row() -> None:
    values: list[Value] = row_values(make_record(1), 1, AT_MS)
    row: dict[str, Value] = dict(zip(COLUMNS, (*values, GENESIS, GENESIS), strict=True))
    assert row["hash_version"] == HASH_VERSION
    text = row_text(row)
    assert text is not None and text.startswith(b'["')
    assert row_text(row | {"hash_version": 99}) is None
    assert row_text(row | {"hash_version": "2"}) is None
    assert row_text(row | {"team": b"aGk="}) == b""

"""Ranges of time in roll-ups: each moment once, as few rows as can be."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from proxy.ledger.spans import Piece, Reach, pieces
from tests.ledger.samples import START_MS
from tests.ledger.seasons import DAY_MS

SHORT = {
    "m": "rollups_monthly",
    "d": "rollups_daily",
    "h": "rollups_4h",
    "q": "rollups",
    "r": "records",
}


def ms(text: str) -> int | None:
    """Milliseconds of `11-02T18:30` in 2026, UTC; `-` is open."""
    return (
        None
        if text == "-"
        else int(datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC).timestamp() * 1000)
    )


# from             to                 what is read. Roll-ups begin on 03-05, wide ones reach until
# 11-20T12:00
TABLE = """
-                  -                  m(- -) q(11-20T12:00 -)
01-01T00:00        -                  m(- -) q(11-20T12:00 -)
11-01T00:00        12-01T00:00        m(11-01T00:00 -) q(11-20T12:00 12-01T00:00)
10-01T00:00        11-01T00:00        m(10-01T00:00 11-01T00:00)
10-31T18:30        -                  m(11-01T00:00 -) h(10-31T20:00 11-01T00:00) q(11-20T12:00 -) q(10-31T18:30 10-31T20:00)
09-30T16:00        10-31T16:00        d(10-01T00:00 10-31T00:00) h(09-30T16:00 10-01T00:00) h(10-31T00:00 10-31T16:00)
11-02T10:10        11-02T10:20        r(11-02T10:10 11-02T10:15) r(11-02T10:15 11-02T10:20)
11-02T10:01        11-02T10:02        r(11-02T10:01 11-02T10:02)
11-02T10:15        11-02T10:15        r(11-02T10:15 11-02T10:15)
11-20T09:07        -                  q(11-20T12:00 -) r(11-20T09:07 11-20T09:15) q(11-20T09:15 11-20T12:00)
11-20T04:00        11-20T12:00        h(11-20T04:00 -)
11-20T12:00        -                  q(11-20T12:00 -)
11-20T13:00        11-20T14:00        q(11-20T13:00 11-20T14:00)
-                  11-19T00:00        m(- 11-01T00:00) d(11-01T00:00 11-19T00:00)
-                  02-01T00:00        m(- 02-01T00:00)
12-24T00:00        12-25T00:00        q(12-24T00:00 12-25T00:00)
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_what_is_read(line: str) -> None:
    from_text, to_text, *wanted = line.replace("(", " ").replace(")", " ").split()
    expected = [
        Piece(SHORT[short], ms(first), ms(last))
        for short, first, last in zip(*[iter(wanted)] * 3, strict=True)
    ]
    first_ms, folded_ms = ms("03-05T10:00"), ms("11-20T12:00")
    assert folded_ms is not None
    found = pieces(ms(from_text), ms(to_text), Reach(first_ms, folded_ms))
    # An empty quarter-hour piece at the seam reads nothing.
    assert [
        piece
        for piece in found
        if piece.from_ms is None or piece.from_ms != piece.to_ms or len(found) == 1
    ] == expected


@pytest.mark.parametrize("folded_text", ["-", "11-20T12:00", "03-01T00:00", "11-01T00:00"])
def test_each_moment_is_read_once(folded_text: str) -> None:
    """Laid end to end, the pieces are the range."""
    rng = random.Random(folded_text)
    folded_ms = ms(folded_text)
    reached = Reach(START_MS - 300 * DAY_MS, 0 if folded_ms is None else folded_ms)
    edges = [
        START_MS - rng.randrange(250 * DAY_MS) // step * step
        for step in (1, 900_000, 14_400_000, DAY_MS)
        for _ in range(40)
    ]
    edges += [ms(f"{month:02}-01T00:00") for month in range(4, 12)] + (
        [] if folded_ms is None else [folded_ms, folded_ms - 1, folded_ms + 1]
    )
    for _ in range(2000):
        from_ms, to_ms = rng.choice(edges), rng.choice(edges)
        spans = sorted(
            (piece.from_ms, reached.folded_until_ms if piece.to_ms is None else piece.to_ms)
            for piece in pieces(from_ms, to_ms, reached)
        )
        spans = [(start, end) for start, end in spans if start < end]
        if from_ms >= to_ms:
            assert spans == []
            continue
        assert (spans[0][0], spans[-1][1]) == (from_ms, to_ms)
        assert all(before[1] == after[0] for before, after in pairwise(spans)), spans

"""Splits a range of time into what roll-ups and records are read of it, whatever the database.

The middle of the range is read from whole months. Towards its ends come days, four hours and
quarter hours, and records for a part of a quarter hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

# Every time zone in use starts its days and hours on a quarter hour of UTC.
BUCKET_MS: Final = 15 * 60 * 1000
FOUR_HOURS_MS: Final = 4 * 60 * 60 * 1000
RECORDS, QUARTERS = "records", "rollups"
# The tables of wide spans, the narrowest first.
WIDE_TABLES: Final = ("rollups_4h", "rollups_daily", "rollups_monthly")
# What makes a group of roll-ups.
GROUPS: Final[tuple[str, ...]] = ("key_id", "team", "model_requested", "upstream", "currency")

_DAY_MS: Final = 86_400_000
# From the start of a span to the next one; no window has more than one month.
STEPS_MS: Final = {
    QUARTERS: BUCKET_MS,
    **dict(zip(WIDE_TABLES, (FOUR_HOURS_MS, _DAY_MS, 32 * _DAY_MS), strict=True)),
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SpanFamily(msgspec.Struct, frozen=True):
    """Wide roll-ups of the same groups.

    names · the table that has the number of each group    groups · the columns that make a group
    wide · the tables, each with the start of its spans; the narrowest first
    """

    names: str
    groups: tuple[str, ...]
    wide: tuple[tuple[str, str], ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """All of its tables."""
        return (self.names, *(table for table, _ in self.wide))

    def table(self, keyed: str) -> str:
        """Its table of the same width as this one of `WIDE_TABLES`."""
        return self.wide[WIDE_TABLES.index(keyed)][0]


def families(starts: Sequence[str]) -> tuple[SpanFamily, SpanFamily]:
    """The wide roll-ups with keys, and those without keys for questions that name none.

    With 10,000 keys the latter have a fortieth of the rows. `starts` has the start of the span that
    a moment `{at}` lies in, of each width, in a database's SQL.
    """
    keyless = ("teams_4h", "teams_daily", "teams_monthly")
    return (
        SpanFamily("rollup_groups", GROUPS, tuple(zip(WIDE_TABLES, starts, strict=True))),
        SpanFamily("rollup_teams", GROUPS[1:], tuple(zip(keyless, starts, strict=True))),
    )


class Piece(msgspec.Struct, frozen=True):
    """The part of a range that is read from one table; [from_ms, to_ms), open where None."""

    table: str
    from_ms: int | None
    to_ms: int | None


class Reach(msgspec.Struct, frozen=True):
    """The time that roll-ups cover.

    They begin at `first_ms`; None: there are none. The wide ones are complete up to
    `folded_until_ms`; 0: there are none. `keyless`: they are there without keys too. `carried`:
    some sums are beyond what their columns hold, and the rest of them is beside.
    """

    first_ms: int | None
    folded_until_ms: int
    keyless: bool = False
    carried: bool = False


def pieces(from_ms: int | None, to_ms: int | None, reach: Reach) -> list[Piece]:
    """The range in pieces that do not overlap. There is at least one, which may be empty."""
    if from_ms is not None and reach.first_ms is not None and from_ms <= reach.first_ms:
        from_ms = None  # so that the first month is read as a whole and not by days
    folded_ms = reach.folded_until_ms
    found: list[Piece] = []
    rest = [(from_ms, to_ms)]
    if folded_ms > 0 and (from_ms is None or from_ms < folded_ms):
        ends_before = to_ms is not None and to_ms < folded_ms
        rest = [] if ends_before else [(folded_ms, to_ms)]
        found, left = _wide(from_ms, to_ms if ends_before else None, folded_ms)
        rest += left
    for start_ms, end_ms in rest:
        found += _narrow(start_ms, end_ms)
    return found if found else [Piece(RECORDS, from_ms, to_ms)]


def _wide(
    from_ms: int | None, to_ms: int | None, folded_ms: int
) -> tuple[list[Piece], list[tuple[int | None, int | None]]]:
    """The wide spans in the range, widest first, and the rests at its ends.

    `to_ms` None is `folded_ms`, where the last span of each width ends.
    """
    found: list[Piece] = []
    rest = [(from_ms, to_ms)]
    for table in reversed(WIDE_TABLES):
        left: list[tuple[int | None, int | None]] = []
        for start_ms, end_ms in rest:
            first_ms = None if start_ms is None else _up(table, start_ms)
            last_ms = None if end_ms is None else _down(table, end_ms)
            if first_ms is not None and first_ms >= (folded_ms if last_ms is None else last_ms):
                left.append((start_ms, end_ms))
                continue
            found.append(Piece(table, first_ms, last_ms))
            if start_ms != first_ms:
                left.append((start_ms, first_ms))
            if end_ms != last_ms:
                left.append((last_ms, end_ms))
        rest = left
    return found, [(start_ms, folded_ms if end_ms is None else end_ms) for start_ms, end_ms in rest]


def _narrow(from_ms: int | None, to_ms: int | None) -> Iterator[Piece]:
    """The whole quarter hours of a range, and the records of the parts at its ends."""
    first_ms = None if from_ms is None else -(-from_ms // BUCKET_MS) * BUCKET_MS
    end_ms = None if to_ms is None else to_ms // BUCKET_MS * BUCKET_MS
    if first_ms is not None and end_ms is not None and first_ms > end_ms:  # within one quarter hour
        yield Piece(RECORDS, from_ms, to_ms)
        return
    if from_ms != first_ms:
        yield Piece(RECORDS, from_ms, first_ms)
    if first_ms is None or first_ms != end_ms:
        yield Piece(QUARTERS, first_ms, end_ms)
    if end_ms != to_ms:
        yield Piece(RECORDS, end_ms, to_ms)


def _down(table: str, ms: int) -> int:
    """The start of the table's span in which the moment lies."""
    if table == "rollups_monthly":
        first = (_EPOCH + timedelta(milliseconds=ms)).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
        return (first - _EPOCH) // timedelta(milliseconds=1)
    width_ms = FOUR_HOURS_MS if table == "rollups_4h" else _DAY_MS
    return ms // width_ms * width_ms


def _up(table: str, ms: int) -> int:
    """The first start of a span at or after the moment."""
    start_ms = _down(table, ms)
    if start_ms == ms:
        return ms
    return _down(
        table,
        start_ms
        + (
            32 * _DAY_MS
            if table == "rollups_monthly"
            else FOUR_HOURS_MS
            if table == "rollups_4h"
            else _DAY_MS
        ),
    )

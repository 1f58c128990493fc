"""Says of roll-ups in the file that they agree with what they were summed from, or may not.

SQLite sums and shows both sides as lines of JSON, which are compared as bytes: a value of another
type is another line. That takes a fraction of the time in which the whole check in `verify_sums`
compares value by value. What does not agree here is looked at there, and told from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from proxy.ledger.late_prices import Columns, moved
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.carried import has_carried
from proxy.ledger.sqlite.sum_stretches import DAY_MS, STEP_ROWS, SumsPlace, begun, stretch
from proxy.ledger.sqlite.sums import (
    FAMILIES,
    GROUPS,
    HALF,
    KEYED,
    KEYLESS,
    MONEY,
    SUMS,
    SpanFamily,
    same_group,
    wide,
)
from proxy.ledger.verification import VerifyStep

FOUR_HOURS_ROWS: Final = 32_768  # a step of these looks at each group
_QUICK: Final = "quick "  # before a place
_LAST_ID: Final = 2**63 - 1
# SQLite's words where a sum is beyond 63 bits, and where damage made bytes of a value.
_NOT_SHOWN: Final = ("integer overflow", "BLOB")

_NAMES: Final = tuple(name for name, _ in SUMS)
_GROUPS: Final = ", ".join(GROUPS)
_BUCKET: Final = f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"
_WITHIN: Final = "{row}.started_at_ms >= :low AND {row}.started_at_ms < :high"
_IN_SPAN: Final = "bucket_ms >= :low AND bucket_ms < :high"
_ROWS: Final = (
    f"SELECT {_BUCKET}, {_GROUPS}, {', '.join(f'{sum_of} AS {name}' for name, sum_of in SUMS)} "
    f"FROM records WHERE {_WITHIN.format(row='records')} UNION ALL "
    f"{moved(Columns([_BUCKET], GROUPS, SUMS), _WITHIN)}"
)
_COUNT: Final = f"SELECT count(*) FROM records WHERE {_WITHIN.format(row='records')}"


class QuickPlace(msgspec.Struct, frozen=True):
    """Where the quick look at wide spans stands.

    by_time · while four hours are held against quarter hours; None: all of them were
    widening · then the number of one of `WIDENINGS`    after · the last group of it that was seen
    alone · it is a share: the look ends with this stretch of time or this table
    """

    by_time: SumsPlace | None
    widening: int = 0
    after: int = 0
    alone: bool = False


class Widening(msgspec.Struct, frozen=True):
    """A table of spans, and the narrower one that it is summed from.

    table · its number in `family.wide`    source · the narrower table
    with_keys · the source is of `KEYED` and the table is not
    """

    family: SpanFamily
    table: int
    source: str
    with_keys: bool = False

    @property
    def name(self) -> str:
        """The name of its table."""
        return self.family.wide[self.table][0]

    @property
    def expected(self) -> str:
        """A query for what the spans of the groups in (low, high] must say."""
        sums = ", ".join(f"sum({name})" for name in wide(SUMS))
        if not self.with_keys:
            start = self.family.wide[self.table][1].format(at="bucket_ms")
            return (
                f"SELECT {_line('group_id', start, sums)} FROM {self.source} "
                f"WHERE group_id > :low AND group_id <= :high GROUP BY group_id, {start}"
            )
        same = same_group("k", "g", self.family)
        return (
            f"SELECT {_line('g.id', 'bucket_ms', sums)} FROM {KEYED.names} AS k "
            f"CROSS JOIN {self.family.names} AS g ON {same} AND g.id > :low AND g.id <= :high "
            f"CROSS JOIN {self.source} AS s ON s.group_id = k.id GROUP BY g.id, bucket_ms"
        )

    @property
    def stored(self) -> str:
        """A query for what they say."""
        line = _line("group_id", "bucket_ms", ", ".join(wide(SUMS)))
        return f"SELECT {line} FROM {self.name} WHERE group_id > :low AND group_id <= :high"


def _line(*columns: str) -> str:
    return f"CAST(json_array({', '.join(columns)}) AS BLOB)"


# The first table is held against the quarter hours, each of these against one before it.
WIDENINGS: Final = (
    Widening(KEYED, 1, KEYED.wide[0][0]),
    Widening(KEYED, 2, KEYED.wide[1][0]),
    Widening(KEYLESS, 0, KEYED.wide[0][0], with_keys=True),
    Widening(KEYLESS, 1, KEYLESS.wide[0][0]),
    Widening(KEYLESS, 2, KEYLESS.wide[1][0]),
)
_QUARTERS: Final = (
    f"SELECT {_line('bucket_ms', _GROUPS, ', '.join(f'sum({name})' for name in _NAMES))} "
    f"FROM ({_ROWS}) GROUP BY bucket_ms, {_GROUPS}"
)
_BOOKED_QUARTERS: Final = (
    f"SELECT {_line('bucket_ms', _GROUPS, ', '.join(_NAMES))} FROM rollups WHERE {_IN_SPAN}"
)
_FOUR_HOURS, _FOUR_HOURS_START = KEYED.wide[0]
_START: Final = _FOUR_HOURS_START.format(at="bucket_ms")
_HALVES: Final = ", ".join(
    f"sum({name} / {HALF}), sum({name} % {HALF})" if name in MONEY else f"sum({name})"
    for name in _NAMES
)
_FOLDED: Final = (
    f"SELECT {_line(_START, _GROUPS, _HALVES)} FROM rollups WHERE {_IN_SPAN} "
    f"AND bucket_ms < :folded_ms GROUP BY {_START}, {_GROUPS}"
)
_BOOKED_FOUR_HOURS: Final = (
    f"SELECT {_line('bucket_ms', _GROUPS, ', '.join(wide(SUMS)))} FROM {KEYED.names} AS g "
    f"CROSS JOIN {_FOUR_HOURS} ON group_id = g.id AND {_IN_SPAN}"
)
_ODD_GROUPS: Final = (
    f"SELECT EXISTS (SELECT 1 FROM {KEYED.names} AS k WHERE (SELECT count(*) FROM {KEYLESS.names} "
    f"AS g WHERE {same_group('k', 'g', KEYLESS)}) <> 1) "
    + "".join(f"OR (SELECT min(id) FROM {family.names}) < 1 " for family in FAMILIES)
)


def quarters_agree(connection: sqlite3.Connection, bounds: tuple[int, int]) -> int | None:
    """How many records the quarter hours of [from_ms, to_ms) agree with; None: they may not."""
    values = _between(bounds)
    if _agreeing(connection, _QUARTERS, _BOOKED_QUARTERS, values) is None:
        return None
    return int(connection.execute(_COUNT, values).fetchone()[0])


def is_quick(place: str) -> bool:
    """Whether this is a place of `wide_quickly`."""
    return place.startswith(_QUICK)


def wide_quickly(connection: sqlite3.Connection, place: str | None) -> VerifyStep | None:
    """The next step of a quick look at all wide spans; None: something may be wrong with them.

    The four hours are held against the quarter hours, a stretch of time after the other. Then each
    wider table is held against a narrower one, some groups after the others.
    """
    folded_ms = connection.execute("SELECT max(folded_until_ms) FROM fold").fetchone()[0] or 0
    if not isinstance(folded_ms, int) or folded_ms % BUCKET_MS:
        return None
    if place is None:
        ends = [("bucket_ms", "rollups"), ("bucket_ms", _FOUR_HOURS)]
        at = QuickPlace(begun(connection, ends, DAY_MS))
    else:
        at = msgspec.json.decode(place.removeprefix(_QUICK), type=QuickPlace)
    if at.by_time is not None:
        step = _four_hours_step(connection, at, at.by_time, folded_ms)
    else:
        step = _widening_step(connection, at)
    if step is None and at.alone:
        # All shares are walked over again as one, which tells what it is.
        return VerifyStep(found=1)
    return step


def strays(connection: sqlite3.Connection, family: SpanFamily, table: str) -> int:
    """How many spans of a wide table belong to no group."""
    query = f"SELECT count(*) FROM {table} WHERE group_id NOT IN (SELECT id FROM {family.names})"
    return int(connection.execute(query).fetchone()[0])


def _has_odd_groups(connection: sqlite3.Connection) -> bool:
    """Whether a group with keys does not have one group without them, or a number is below 1.

    Nothing is expected of a group that is gone, and of one that is there twice the same is expected
    twice. The look at a table begins with number 1.
    """
    return bool(connection.execute(_ODD_GROUPS).fetchone()[0])


def _four_hours_step(
    connection: sqlite3.Connection, place: QuickPlace, at: SumsPlace, folded_ms: int
) -> VerifyStep | None:
    bounds = stretch(connection, at, "bucket_ms", "rollups", DAY_MS, FOUR_HOURS_ROWS)
    values = {**_between(bounds), "folded_ms": folded_ms}
    rows = _agreeing(connection, _FOLDED, _BOOKED_FOUR_HOURS, values)
    behind = SumsPlace(bounds[1], at.last_ms) if bounds[1] <= at.last_ms else None
    following = None if place.alone and behind is None else QuickPlace(behind, alone=place.alone)
    return None if rows is None else VerifyStep(rows=rows, next=_told(following))


def _widening_step(connection: sqlite3.Connection, at: QuickPlace) -> VerifyStep | None:
    if at.widening == len(WIDENINGS):
        tables = [(family, table) for family in FAMILIES for table, _ in family.wide]
        is_odd = _has_odd_groups(connection) or any(strays(connection, *of) for of in tables)
        return None if is_odd else VerifyStep()
    widening = WIDENINGS[at.widening]
    query = f"SELECT group_id FROM {widening.name} WHERE group_id > ? ORDER BY 1 LIMIT 1 OFFSET ?"
    found = connection.execute(query, (at.after, STEP_ROWS)).fetchone()
    upto = _LAST_ID if found is None else max(found[0] - 1, at.after + 1)
    groups = _between((at.after, upto))
    rows = _agreeing(connection, widening.expected, widening.stored, groups)
    if rows is None:
        return None
    behind: QuickPlace | None = msgspec.structs.replace(at, after=upto)
    if upto == _LAST_ID:
        behind = None if at.alone else QuickPlace(None, at.widening + 1)
    return VerifyStep(rows=rows, next=_told(behind))


def quick_shares(stretches: Sequence[SumsPlace]) -> list[str]:
    """The places of a quick look by several at once: these stretches of time, and each table."""
    by_time = [QuickPlace(stretch, alone=True) for stretch in stretches]
    by_group = [QuickPlace(None, n, alone=True) for n in range(len(WIDENINGS) + 1)]
    return [_QUICK + msgspec.json.encode(place).decode() for place in (*by_time, *by_group)]


def _told(place: QuickPlace | None) -> str | None:
    return None if place is None else _QUICK + msgspec.json.encode(place).decode()


def _between(bounds: tuple[int, int]) -> dict[str, int]:
    return dict(zip(("low", "high"), bounds, strict=True))


def _agreeing(
    connection: sqlite3.Connection, expected: str, stored: str, values: Mapping[str, int]
) -> int | None:
    """How many lines both queries have, if they have the same; None: they may not."""
    try:
        if has_carried(connection):
            return None
        left = {line for (line,) in connection.execute(expected, values)}
        found = len(left)
        for (line,) in connection.execute(stored, values):
            if line not in left:
                return None
            left.remove(line)
    except sqlite3.OperationalError as error:
        if not any(words in str(error) for words in _NOT_SHOWN):
            raise
        return None
    return None if left else found

"""Closed months, and which of them counts which record.

A statement counts by the time at which a request started, in its zone. It goes as far in the book
as that stood when the month was closed. So each record is counted by exactly one statement: the
first that was closed for its team or for all teams, whose month ends after the record's start, and
which goes as far as the record. What is booked later for an earlier month is counted by the next
one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """A month that was closed. Times are Unix milliseconds.

    number · 1, 2, 3 …, in the order of closing    team · None: all that no other statement counts
    month · YYYY-MM, which is [from_ms, to_ms) in `zone`
    through · the last seq of the book that it goes to
    digest · SHA-256 of the statement as it is kept, 64 hex digits
    """

    number: int
    month: str
    zone: str
    team: str | None
    from_ms: int
    to_ms: int
    through: int
    closed_at_ms: int
    closed_by: str
    digest: str


class ClosedStatement(msgspec.Struct, frozen=True, kw_only=True):
    """A closed month with what its statement says.

    document · the statement as it is kept and signed    public_key · 32 bytes of ed25519
    """

    closing: Closing
    document: bytes
    public_key: bytes
    signature: bytes


class Closings:
    """What was closed before, to find out what a statement has to count."""

    def __init__(self, closings: Iterable[Closing]) -> None:
        self.all = tuple(closings)
        self._by_team: dict[str | None, _Reached] = {}

    def of(self, month: str, team: str | None) -> Closing | None:
        """The statement of exactly this month and team, if it is closed."""
        return next((c for c in self.all if c.month == month and c.team == team), None)

    def over(self, team: str | None) -> list[Closing]:
        """Those that count what a statement of this team would; of None: those of all teams."""
        return [closing for closing in self.all if closing.team in (None, team)]

    def last_over(self, team: str | None) -> Closing | None:
        """The one among them that reaches furthest in time."""
        return max(self.over(team), key=lambda c: (c.to_ms, c.through), default=None)

    def taken(self, team: str | None, started_at_ms: int, seq: int) -> bool:
        """Whether one of them counts this record already."""
        return self._reached(team).through(started_at_ms) >= seq

    def is_late(self, team: str | None, started_at_ms: int) -> bool:
        """Whether the record's month was closed for its team, or a later month was."""
        return self._reached(team).through(started_at_ms) >= 0

    def apart(self, month: str) -> list[Closing]:
        """The statements of single teams for this month."""
        return [c for c in self.all if c.month == month and c.team is not None]

    def _reached(self, team: str | None) -> _Reached:
        found = self._by_team.get(team)
        if found is None:
            found = self._by_team[team] = _Reached(self.over(team))
        return found


class _Reached:
    """How far in the book the statements go that count a moment."""

    def __init__(self, closings: Sequence[Closing]) -> None:
        ordered = sorted(closings, key=lambda c: c.to_ms)
        self._ends = [closing.to_ms for closing in ordered]
        self._through: list[int] = []
        furthest = -1
        for closing in reversed(ordered):
            furthest = max(furthest, closing.through)
            self._through.append(furthest)
        self._through.reverse()

    def through(self, at_ms: int) -> int:
        """The furthest seq of those whose month ends after `at_ms`; -1: there is none."""
        place = bisect_right(self._ends, at_ms)
        return self._through[place] if place < len(self._through) else -1

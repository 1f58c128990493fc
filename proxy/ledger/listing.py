"""The rows behind a sum: which they are, and how a page of them is found.

Roll-ups know in which quarter hours somebody has rows. So of a long book only those are read, the
last first, until the page is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from proxy.core.records.canonical import COLUMNS, Value
from proxy.ledger.spans import BUCKET_MS

# With more groups, nearly each quarter hour has rows of one of them: all are looked into.
GROUPS_MAX: Final = 10_000
# With more keys, the quarter hours of a day are not looked up key by key.
KEYS_MAX: Final = 64
DAY_MS: Final = 86_400_000
EVER_MS: Final = 2**53
_SEQ: Final = COLUMNS.index("seq")

Name: TypeAlias = str | UnsetType | None


class RowChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the book: those with each name that is given, started in [from_ms, to_ms).

    A name is None for rows that have none, and UNSET for any. `currency` is that of the line on
    which a row counts in `Reader.usage`; None: it has no price. `through`: as the book stood at
    that seq. The sum of the rows is then the line of `Reader.usage`, to the nano-unit.
    """

    through: int
    team: Name = UNSET
    key: Name = UNSET
    model: Name = UNSET
    upstream: Name = UNSET
    currency: Name = UNSET
    from_ms: int | None = None
    to_ms: int | None = None

    def names(self) -> list[tuple[str, str | None]]:
        """The columns of a row that are to have one value, each with it; without the currency."""
        columns = {
            "key_id": self.key,
            "team": self.team,
            "model_requested": self.model,
            "upstream": self.upstream,
        }
        return [(column, name) for column, name in columns.items() if name is not UNSET]

    def group(self) -> list[tuple[str, str | None]]:
        """The same of a roll-up, with the currency: rows are on their line there."""
        line = [] if self.currency is UNSET else [("currency", self.currency)]
        return [*self.names(), *line]

    def times(self) -> tuple[int, int]:
        """The range as numbers that any database takes."""
        from_ms = 0 if self.from_ms is None else min(max(0, self.from_ms), EVER_MS)
        return from_ms, EVER_MS if self.to_ms is None else min(max(0, self.to_ms), EVER_MS)


class Listing(msgspec.Struct, frozen=True):
    """Rows in the order of `canonical.COLUMNS`, those that started last first.

    `currencies` has for each that of the line on which it counts. `before` is the seq with which
    the next page is asked for; None: there is no more.
    """

    rows: Sequence[tuple[Value, ...]]
    currencies: Sequence[str | None]
    before: int | None


# The place of a row among those of a choice: (started_at_ms, seq).
Place: TypeAlias = tuple[int, int]
# At most so many rows before a place and started since a time; each has its currency in front.
Find: TypeAlias = Callable[[int, Place, int], Sequence[Sequence[Any]]]


def top(choice: RowChoice, before: Place | None) -> Place:
    """The place before which a page begins."""
    _, to_ms = choice.times()
    return (to_ms, -1) if before is None else min(before, (to_ms, -1))


def collected(
    choice: RowChoice, upper: Place, most: int, quarters: Iterable[int], find: Find
) -> Listing:
    """A page of rows before `upper`.

    `quarters` are the starts of the quarter hours that may have some, the last first.
    """
    from_ms, _ = choice.times()
    found: list[Sequence[Any]] = []
    for start_ms in quarters:
        low_ms, place = max(start_ms, from_ms), min(upper, (start_ms + BUCKET_MS, -1))
        if place[0] >= low_ms:
            found += find(low_ms, place, most + 1 - len(found))
        if len(found) > most:
            break
    rows = [tuple(row[1:]) for row in found[:most]]
    currencies = [row[0] for row in found[:most]]
    return Listing(rows, currencies, rows[-1][_SEQ] if len(found) > most else None)

"""Months of records that were taken out of the book, each into a file of its own.

What the book keeps of such a month is one `Archive`: where its records ended, the root that they
had, their totals, and the digest of the file. Their roll-ups stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.core.ids import made_at_ms

if TYPE_CHECKING:
    from proxy.ledger import SealedMonth

# No window of a calendar limit is longer, so that none that is open reaches into an archive.
OPEN_WINDOW_MS: Final = 32 * 86_400_000
FORCEABLE: Final = ("unpriced", "unclosed")


class MonthTotals(msgspec.Struct, frozen=True):
    """What the records of a month come to: `charges` and `costs` in nano-units, by currency."""

    records: int
    adjustments: int
    input_tokens: int
    output_tokens: int
    costs: dict[str, int]
    charges: dict[str, int]


class ArchiveOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A sealed month whose records are in a file that was read back and found right.

    `root` and `sha256`, of the file, have 64 hex digits. `forced` names what stands against it and
    is accepted: of FORCEABLE.
    """

    month: str
    first_seq: int
    last_seq: int
    root: str
    file: str
    bytes: int
    sha256: str
    totals: MonthTotals
    forced: Sequence[str] = ()


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """A month whose records are not in the book any more. Times are Unix milliseconds.

    Its records are those from `first_seq` to `last_seq`; they started between `first_start_ms` and
    `last_start_ms`. `hash` is that of the last one. `root`, `hash` and `sha256` have 64 hex digits.
    """

    month: str
    first_seq: int
    last_seq: int
    first_start_ms: int
    last_start_ms: int
    archived_at_ms: int
    root: str
    hash: str
    file: str
    bytes: int
    sha256: str
    totals: MonthTotals

    def holds(self, started_at_ms: int) -> bool:
        """Whether a record that started then may be in it."""
        return self.first_start_ms <= started_at_ms <= self.last_start_ms


class DueMonth(msgspec.Struct, frozen=True):
    """A sealed month that is in the book, and why it cannot leave it now, one sentence each.

    `public_key` · of the signature under its root, 32 bytes
    """

    month: SealedMonth
    public_key: bytes
    obstacles: Sequence[str]


def may_hold(archives: Iterable[Archive], id: str) -> list[Archive]:
    """The archives that may have the record, by the time in its id; all where that says nothing."""
    every = list(archives)
    try:
        made_ms = made_at_ms(id)
    except ValueError:
        return every
    return [archive for archive in every if archive.holds(made_ms)] or every


def needed(
    archives: Sequence[Archive], after: int, from_ms: int | None, to_ms: int | None
) -> str | None:
    """Why a question cannot be answered that needs archived records; None: it needs none.

    It asks for records behind the seq `after`, started in [from_ms, to_ms), open where None.
    """
    asked = [
        archive
        for archive in archives
        if archive.last_seq > after
        and (from_ms is None or archive.last_start_ms >= from_ms)
        and (to_ms is None or archive.first_start_ms < to_ms)
    ]
    if not asked:
        return None
    last_ms = max(archive.last_start_ms for archive in asked)
    return (
        f"the records of {', '.join(archive.month for archive in asked)} are archived, up to seq "
        f"{asked[-1].last_seq}, and this needs them: ask for what is behind that seq or started "
        f"after {datetime.fromtimestamp(last_ms // 1000, UTC).isoformat()}, or read "
        f"{', '.join(archive.file for archive in asked)}"
    )

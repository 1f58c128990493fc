"""What a stretch of the book is narrowed to, whatever the database."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from proxy.ledger import LedgerError
from proxy.ledger.reading import Stretch

# A database holds no time beyond these, and takes none in a question.
FIRST_MS, END_MS = -(2**63), 2**63 - 1


def times(stretch: Stretch) -> tuple[int, int]:
    """The stretch's [from_ms, to_ms), within what a database can hold."""
    return (
        FIRST_MS if stretch.from_ms is None else min(max(FIRST_MS, stretch.from_ms), END_MS),
        END_MS if stretch.to_ms is None else min(max(FIRST_MS, stretch.to_ms), END_MS),
    )


def narrowed(
    stretch: Stretch, head: int, ends: Callable[[int, int], tuple[int | None, int | None]]
) -> Stretch:
    """See `Reader.narrowed`, for a book that ends at the seq `head`.

    `ends` gives the first and last seq of records started in [from_ms, to_ms), None without any.
    It reads much of the book, so it is asked only where the stretch names a time.

    Raises LedgerError for a stretch that reaches beyond the head.
    """
    if stretch.through > head:
        raise LedgerError(
            f"the ledger ends at seq {head}, before {stretch.through}: this number was printed for "
            "another ledger, or this is an older copy"
        )
    if stretch.from_ms is None and stretch.to_ms is None:
        return stretch
    low, high = ends(*times(stretch))
    if low is None or high is None or low > stretch.through or high <= stretch.after:
        return msgspec.structs.replace(stretch, after=stretch.through)
    return msgspec.structs.replace(
        stretch, after=max(stretch.after, low - 1), through=min(stretch.through, high)
    )

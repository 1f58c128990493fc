"""Months of records that were taken out of the book, each into a file of its own.

What the book keeps of such a month is one `Archive`: where its records ended, the root that they
had, their totals, and the digest of the file. Their roll-ups stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.core.ids import made_at_ms
from proxy.core.records.canonical import canonical, key_name, seal
from proxy.core.records.chain import Flaw

if TYPE_CHECKING:
    from proxy.ledger import SealedMonth

# No window of a calendar limit is longer, so that none that is open reaches into an archive.
OPEN_WINDOW_MS: Final = 32 * 86_400_000
FORCEABLE: Final = ("unpriced", "unclosed")
# What a ledger keeps of each archived month, in every kind of database.
ARCHIVE_COLUMNS: Final = (
    "seq",
    "first_seq",
    "month",
    "first_start_ms",
    "last_start_ms",
    "archived_at_ms",
    "root",
    "hash",
    "file",
    "bytes",
    "sha256",
    "totals",
    "sums",
    "key_name",
    "seal",
)


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


class ChainStart(msgspec.Struct, frozen=True):
    """Where one of several chains of a book begins in a month.

    `first_seq` is the place in the chain of its first record there, which is hashed as the record's
    seq. `prev_hash`, of the record before, has 64 hex digits.
    """

    chain: str
    first_seq: int
    prev_hash: str


class DueMonth(msgspec.Struct, frozen=True):
    """A sealed month that is in the book, and why it cannot leave it now, one sentence each.

    `public_key` · of the signature under its root, 32 bytes
    `chains` · of a book with several; empty: the book is one chain
    """

    month: SealedMonth
    public_key: bytes
    obstacles: Sequence[str]
    chains: Sequence[ChainStart] = ()


class MonthState(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger says of the records up to the end of a sealed month. Times are Unix ms.

    first_ms, last_ms · when the first and the last of them started; None: there are none
    last_seq · of them    book_end · the last seq of the book
    unpriced · requests without a price    is_corrected · by a later record without an amount
    is_closed · a closed statement of all teams counts them
    """

    first_ms: int | None
    last_ms: int | None
    last_seq: int
    book_end: int
    unpriced: int
    is_corrected: bool
    is_closed: bool

    def obstacles(self, now_ms: int, forced: Sequence[str] = ()) -> list[str]:
        """Why they cannot leave the book now, one sentence each.

        `forced` names those that are accepted; see `ArchiveOrder`.
        """
        if self.last_ms is None:
            return ["there is no record left of it"]
        found = []
        if self.last_ms > now_ms:
            last = datetime.fromtimestamp(self.last_ms // 1000, UTC)
            found.append(
                f"a request of it started on {last:%Y-%m-%d}, which is yet to come: the clock was "
                "ahead"
            )
        elif self.last_ms > now_ms - OPEN_WINDOW_MS:
            found.append(
                "limits may still count it: a window of a month or a week may be open for "
                f"{OPEN_WINDOW_MS // 86_400_000} days behind its last request"
            )
        if self.book_end <= self.last_seq:
            found.append("the last record of the book stays, and there is none behind this month")
        if self.unpriced and "unpriced" not in forced:
            found.append(
                f"{self.unpriced} requests have no price, and once archived they are never priced: "
                "run `tollkeeper price rerate`, or add --force unpriced"
            )
        if self.is_corrected:
            found.append("a later record corrects one of it without an amount")
        if not self.is_closed and "unclosed" not in forced:
            found.append(
                "no closed statement of all teams counts all of it: run `tollkeeper statement "
                "close`, or add --force unclosed"
            )
        return found


def unfit(
    order: ArchiveOrder, sealed: tuple[int, int, bytes] | None, archived: int, first_seq: int | None
) -> str | None:
    """Why an order is not of the next month that can leave the book; None: it is.

    `sealed` has the month's first and last seq, and its root. `archived` is the last seq that has
    left the book, and `first_seq` the first one that is in it.
    """
    if sealed is None or sealed[:2] != (order.first_seq, order.last_seq):
        return f"{order.month} is not sealed like that: `tollkeeper ledger seal`"
    if bytes(sealed[2]).hex() != order.root:
        return f"the file of {order.month} has other records than those sealed"
    if archived >= order.last_seq:
        return f"{order.month} is archived already"
    if first_seq != order.first_seq:
        return f"{order.month} is not the oldest month in the book: begin with that"
    return None


def archive_row(
    order: ArchiveOrder, span_ms: tuple[int, int], row_hash: bytes, now_ms: int, sums: bytes
) -> tuple[Any, ...]:
    """The values of ARCHIVE_COLUMNS but for the last two.

    `span_ms` is when its first and last records started; `sums` is the digest of what stands for
    them.
    """
    return (
        order.last_seq,
        order.first_seq,
        order.month,
        *span_ms,
        now_ms,
        bytes.fromhex(order.root),
        row_hash,
        order.file,
        order.bytes,
        bytes.fromhex(order.sha256),
        msgspec.json.encode(order.totals, order="sorted").decode(),
        sums,
    )


def archive_of(row: Sequence[Any]) -> Archive:
    """The archive in a row of ARCHIVE_COLUMNS."""
    return Archive(
        last_seq=row[0],
        first_seq=row[1],
        month=row[2],
        first_start_ms=row[3],
        last_start_ms=row[4],
        archived_at_ms=row[5],
        root=row[6].hex(),
        hash=row[7].hex(),
        file=row[8],
        bytes=row[9],
        sha256=row[10].hex(),
        totals=msgspec.json.decode(row[11], type=MonthTotals),
    )


def sealed_digest(row: Sequence[Any]) -> bytes:
    """What of an archive is sealed: all of its row but the seal and the key's name."""
    values = [value.hex() if isinstance(value, bytes) else value for value in row]
    return hashlib.sha256(b"tollkeeper archive 1\n" + canonical(values)).digest()


def archive_flaws(
    rows: Iterable[Sequence[Any]],
    sums: Callable[[int], bytes],
    checkpoints: Mapping[int, bytes],
    strays: Iterable[int],
    key: bytes | None,
) -> Iterator[Flaw]:
    """What is wrong with what a ledger keeps of archived months.

    rows · of ARCHIVE_COLUMNS    sums · the digest of the sums that stand for one, by its seq
    checkpoints · their hashes by seq    strays · the seqs of archives that there are sums of
    """
    known = set()
    for row in rows:
        seq, month, at_ms, row_hash = row[0], row[2], row[5], row[7]
        known.add(seq)
        where = f"archive of {month}"
        if sums(seq) != row[12]:
            yield Flaw("months", f"{where}: the sums that stand for its records were changed", seq)
        if checkpoints.get(seq) != row_hash:
            yield Flaw("months", f"{where}: there is no checkpoint of its last record", seq)
        made = None if key is None else seal(key, seq, at_ms, sealed_digest(row[:-2]))
        if key is not None and row[-2] == key_name(key) and made != row[-1]:
            yield Flaw("months", f"{where}: it was changed since it was sealed", seq)
    for seq in sorted(set(strays) - known):
        yield Flaw("months", f"there are sums of an archive of seq {seq}, which there is none of")


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
) -> tuple[str, int] | None:
    """Why a question cannot be answered that needs archived records; None: it needs none.

    With it comes when the last of them started, in Unix milliseconds.

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
        f"{', '.join(archive.file for archive in asked)}",
        last_ms,
    )

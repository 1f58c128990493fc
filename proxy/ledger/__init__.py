"""The book: append-only records in commit order, in one hash chain, with roll-ups beside them.

Refusals, credits and the terms of prices are in it too. One process writes (`connect`); it and
others read (`connect_reader`). The URL's scheme names the backend: `sqlite:ledger.db` is
`proxy.ledger.sqlite`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from proxy.core.fault_points import FaultPoint, no_fault
from proxy.core.limits.credit import Credit
from proxy.core.managed import Audit, Managed, TenantChange
from proxy.core.notices.notice import Claim
from proxy.core.statements.closing import ClosedStatement
from proxy.core.usage import UsageRecord
from proxy.ledger.reading import Reader as Reader
from proxy.system.backends import backend, masked

if TYPE_CHECKING:
    from proxy.ledger.archives import Archive, ArchiveOrder

BATCH_MAX = 64  # records a transaction that every ledger takes


class LedgerUnavailable(Exception):
    """The database cannot take this now: it is locked, full, damaged or unreadable.

    Keep the batch and try again later.
    """


class LedgerError(Exception):
    """The ledger cannot be used as it is, and waiting will not help.

    The message says why and what to do.
    """


class LedgerSetBack(Exception):
    """The ledger has lost what it had confirmed, as after a failover to a replica that lagged.

    Nothing was booked. Book again what the journal has behind `position`.
    """

    def __init__(self, position: int) -> None:
        super().__init__(f"the ledger has this journal only up to {position}")
        self.position = position


class LedgerOutdated(Exception):
    """Another process has changed keys, teams or closed months since: look, then order anew."""


class QuestionRefused(LedgerError):
    """What is asked cannot be answered as it is asked; the message says what can."""


class RecordsArchived(QuestionRefused):
    """Records that are asked for are in files. The last one of them started at `last_start_ms`."""

    def __init__(self, message: str, last_start_ms: int) -> None:
        super().__init__(message)
        self.last_start_ms = last_start_ms


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """How often requests of one key were refused for one reason within a quarter hour.

    It starts at `bucket_ms`. `key_id` is None without a key, or with too many to tell apart.
    `team` is the key's at that time. `limit_id`: the `Limit.id` of what said no, if a limit did; it
    holds no value of a caller.
    """

    bucket_ms: int
    key_id: str | None
    code: str
    count: int
    team: str | None = None
    limit_id: str | None = None


class SealedMonth(msgspec.Struct, frozen=True):
    """A month of the book under one signed root: the records that were booked in it.

    month · YYYY-MM, in the ledger's zone    first_seq, last_seq · its records
    root · 64 hex digits    checkpoint · the signed note (c2sp.org/tlog-checkpoint)
    """

    month: str
    first_seq: int
    last_seq: int
    root: str
    checkpoint: str


Close: TypeAlias = tuple[int, UsageRecord]  # (journal seq, record)


class Batch(msgspec.Struct, frozen=True):
    """What one writer books in one transaction: at most `batch_max` closes of the ledger, and more.

    The writer's position becomes `position`, or the last seq of `closes`. `salts` are (look-up
    value, salt) of end users. `price_versions` are (version, terms) that records of this batch or
    later ones pin; a known version keeps the terms it has.
    """

    writer: str
    closes: Sequence[Close] = ()
    position: int | None = None
    salts: Sequence[tuple[str, bytes]] = ()
    refusals: Sequence[Refusal] = ()
    price_versions: Sequence[tuple[str, bytes]] = ()


class Booked(msgspec.Struct, frozen=True, gc=False):
    """The result of a batch: new rows, known records, and differences booked as adjustments."""

    inserted: int
    known: int
    adjustments: int


class Migrated(msgspec.Struct, frozen=True):
    """A ledger whose schema was `before`, 0 if it was empty, and is `version` now."""

    name: str
    before: int
    version: int


class Ledger(Protocol):
    """What the recorder needs of a ledger."""

    @property
    def batch_max(self) -> int:
        """How many records one transaction takes: with more it gains little and holds others up."""
        ...

    async def book(self, batch: Batch) -> Booked:
        """Book one batch in one durable transaction.

        Idempotent by record id; a different record under a known id becomes an adjustment. Raises
        LedgerUnavailable; then the same batch is to be tried again. Raises LedgerSetBack where the
        ledger has lost closes of this writer that it had confirmed.
        """
        ...

    async def adjust(self, adjustments: Sequence[UsageRecord]) -> Booked:
        """Book at most `batch_max` adjustments that come from no journal, in one transaction.

        It is durable, and idempotent by record id. Raises LedgerUnavailable.
        """
        ...

    async def credit(self, credit: Credit) -> None:
        """Book a credit, durably. Idempotent by id. Raises LedgerUnavailable."""
        ...

    async def credits(self) -> list[Credit]:
        """Every credit, in the order of booking."""
        ...

    async def rebuild(self) -> int:
        """Make all roll-ups anew in one transaction; the number of records they are made of.

        Raises LedgerUnavailable; then they are as they were.
        """
        ...

    async def seal_months(self, zone: tzinfo, signing_key: Path) -> list[SealedMonth]:
        """Seal each month of the zone that is over; those sealed now, the oldest first.

        The key in the file signs them; it is made if absent. Raises LedgerUnavailable, and
        LedgerError where it cannot be done.
        """
        ...

    async def close_month(self, closed: ClosedStatement, audit: Audit) -> None:
        """Store a closed month with the audit of it, durably, both or none.

        Raises LedgerOutdated, and stores nothing, where its number is not the next one, or the
        month is closed already for that team. Raises LedgerUnavailable.
        """
        ...

    async def archive(self, order: ArchiveOrder, audit: Audit) -> Archive:
        """Take the records of the month out of the book, durably; what the book keeps of it.

        Raises LedgerUnavailable, and LedgerError with the reason where the month has to stay.
        """
        ...

    async def clear_archived(self, told: Callable[[int], None] = lambda _rows: None) -> int:
        """Delete the records that `archive` took out of the book and left in the database.

        Returns how many; `told` gets the numbers meanwhile. It goes on where another call ended.
        Raises LedgerUnavailable, and LedgerError where the database lets this process delete none.
        """
        ...

    async def change(
        self,
        what: TenantChange,
        known: int | None = None,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Write keys and teams with the audit of it, durably. Raises LedgerUnavailable.

        `known` is the version that the change was made from. Raises LedgerOutdated, and writes
        nothing, where a process that shares the ledger has made a newer one. `first` is awaited
        when no other process can write any more before this; it must ask nothing of this ledger.
        """
        ...

    async def tenants(self) -> list[Managed]:
        """Every key and team in the database, by kind and name."""
        ...

    async def stored(self, ids: Sequence[str]) -> dict[str, UsageRecord]:
        """The records booked under these ids, at most `batch_max`. Raises LedgerUnavailable."""
        ...

    async def position(self, writer: str) -> int:
        """The journal seq up to which this writer's closes are booked; 0 for a new writer.

        From then on, where several processes share the ledger, no other one books as this writer.
        """
        ...

    async def release(self, writer: str) -> None:
        """Let another process book as this writer, whose journal this one has booked and left."""
        ...

    async def salts(self) -> dict[str, bytes]:
        """Every end user's salt by look-up value."""
        ...

    async def erase_end_user(
        self, lookup: str, deed: Audit, *, kept: bytes | None = None, known: bool = False
    ) -> bool:
        """Delete the salt under this look-up value, unless it is `kept`; False: there is none.

        What is deleted is audited as `deed`, in the same transaction. So is a salt that is `known`
        and was never stored. Raises LedgerUnavailable.
        """
        ...

    async def claim_notices(self, claims: Sequence[Claim], now_ms: int) -> list[Claim]:
        """Store what receivers are to be told; returns those that nobody had stored before.

        It is durable. Old rows go. Raises LedgerUnavailable.
        """
        ...

    async def notices_sent(self, message_ids: Sequence[str]) -> None:
        """Note that nothing more is to be done for these messages. Raises LedgerUnavailable."""
        ...

    async def unsent_notices(self, most: int) -> list[Claim]:
        """At most so many that were stored and not sent, the oldest message first.

        Raises LedgerUnavailable.
        """
        ...

    async def aclose(self) -> None:
        """Close the database and give up its lock."""
        ...


async def connect(
    url: str, data_dir: Path, key_file: Path | None = None, *, fail: FaultPoint = no_fault
) -> Ledger:
    """Open the ledger for writing. Raises LedgerError with the reason when that cannot be done.

    `key_file` holds the key that seals each batch, by default `ledger.key` in `data_dir`; it is
    made if absent.
    """
    ledger: Ledger = await backend_of(url, "connect").connect(url, data_dir, key_file, fail=fail)
    return ledger


async def connect_later(url: str, data_dir: Path, key_file: Path, *, fail: FaultPoint) -> Ledger:
    """The ledger for writing, which other processes share and which is away now.

    It is opened when it is first used. Until that works, all its methods raise LedgerUnavailable.
    Raises LedgerError where the key is not there.
    """
    opening = backend_of(url, "connect").connect
    ledger: Ledger = await opening(url, data_dir, key_file, fail=fail, later=True)
    return ledger


def connect_reader(url: str, data_dir: Path) -> Reader:
    """A reader of the ledger, which need not be there yet. Raises LedgerError for a wrong URL."""
    reader: Reader = backend_of(url, "connect_reader").connect_reader(url, data_dir)
    return reader


def bring_up(url: str, data_dir: Path, role: str | None) -> Migrated:
    """Bring a ledger to the present schema, and allow a role of its database to use it.

    Raises LedgerError with the reason and the remedy, LedgerUnavailable.
    """
    migrated: Migrated = backend_of(url, "bring_up").bring_up(url, data_dir, role)
    return migrated


def database(url: str, opener: str) -> ModuleType | None:
    """The database's folder in this package, named by the URL's scheme, if it has this function.

    Raises LedgerError where the driver that it needs is missing.
    """
    try:
        return backend(__name__, url, opener)
    except ImportError as error:
        # Without its C library the driver raises an error without a name.
        if not (error.name or "psycopg").startswith("psycopg"):
            raise
        raise LedgerError(
            "a ledger in PostgreSQL needs a driver that is not installed: "
            f"pip install 'tollkeeper[postgres]' ({error})"
        ) from error


def weakness(url: str, data_dir: Path) -> str | None:
    """What lets the processes that book change what is booked; None: nothing in the database does.

    Raises LedgerError and LedgerUnavailable.
    """
    found: str | None = backend_of(url, "weakness").weakness(url, data_dir)
    return found


def backend_of(url: str, opener: str) -> ModuleType:
    module = database(url, opener)
    if module is None:
        raise LedgerError(
            f"ledger.url {masked(url)!r}: no such kind of ledger; use sqlite:FILE, "
            "for example sqlite:ledger.db, or postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    return module

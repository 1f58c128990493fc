"""Reading the book: the contract of each database's reader, and the structs it answers with.

A reader is synchronous and changes nothing. It works beside a running process or without one, and
from any thread. Each question is one short transaction of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.managed import Audit, Managed
from proxy.core.records.anchors import Anchor
from proxy.core.records.canonical import COLUMNS, Value, record_from
from proxy.core.records.checkpoints import RecordProof
from proxy.core.statements.closing import ClosedStatement, Closing
from proxy.core.statements.tally import SUMS
from proxy.core.usage import UsageRecord
from proxy.ledger.archives import Archive
from proxy.ledger.kept_answers import KeptAnswer as KeptAnswer
from proxy.ledger.listing import Listing as Listing
from proxy.ledger.listing import RowChoice as RowChoice
from proxy.ledger.recent_use import SINGLE_MS as SINGLE_MS
from proxy.ledger.recent_use import Recent as Recent
from proxy.ledger.recent_use import ValueUse as ValueUse
from proxy.ledger.tariffs import Tariff as Tariff
from proxy.ledger.tariffs import TariffPage as TariffPage
from proxy.ledger.tariffs import TariffSum as TariffSum
from proxy.ledger.verification import VerifyStep

PAGE_SEQS = 256  # a quarter of a megabyte in the file, two in memory, some milliseconds of reading

# What `Reader.usage` sums, in the order of a row: every ledger has these.
ALL_SUMS: Final = SUMS
# What its `by` may name, beside `label:NAME` and `tag:NAME`.
GROUPED_BY: Final = (
    *("team", "key", "model", "upstream", "end_user"),
    *("day", "hour", "month", "source", "outcome"),
)
LABEL: Final = "label:"
TAG: Final = "tag:"

# What tags and `Reader.usage(through=…)` may read at once: nine seconds of a core for a million.
RECORDS_MAX: Final = 5_000_000

UsageRow: TypeAlias = dict[str, str | int | None]
Row: TypeAlias = tuple[Value, ...]  # one booked record, in the order of `canonical.COLUMNS`


def groups(name: str) -> bool:
    """Whether records can be grouped by this name."""
    return name in GROUPED_BY or any(
        name.startswith(prefix) and len(name) > len(prefix) for prefix in (LABEL, TAG)
    )


class Entry(msgspec.Struct, frozen=True):
    """A record with what the ledger added when it was booked; the hashes as 64 hex digits."""

    record: UsageRecord
    seq: int
    booked_at_ms: int
    hash_version: int
    prev_hash: str
    hash: str


def entries(rows: Iterable[Sequence[Any]]) -> list[Entry]:
    """Booked rows as records with their places."""
    found = []
    for row in rows:
        stored = dict(zip(COLUMNS, row, strict=True))
        found.append(
            Entry(
                record=record_from(stored),
                seq=stored["seq"],
                booked_at_ms=stored["booked_at_ms"],
                hash_version=stored["hash_version"],
                prev_hash=stored["prev_hash"].hex(),
                hash=stored["hash"].hex(),
            )
        )
    return found


class Status(msgspec.Struct, frozen=True):
    """The state of the book. Times are Unix milliseconds; None where there is nothing yet.

    `path` names the ledger for people. `writers` maps each writer to its booked journal position.
    adjustments · rows that correct another one; entries by hand correct none
    """

    path: str
    schema_version: int
    bytes: int
    records: int
    adjustments: int
    first_seq: int | None
    last_seq: int | None
    last_hash: str | None
    last_booked_at_ms: int | None
    sealed_seq: int | None
    writers: dict[str, int]


class RefusalSum(msgspec.Struct, frozen=True, gc=False):
    """How often requests of one key were refused for one reason.

    `first_ms` and `last_ms` are the starts of the first and last quarter hour in which they were.
    key_id · None: none was known, or too many to tell apart
    team · the key's at that time    limit_id · what said no, if a limit did
    Both are None in rows of before schema version 11 too.
    """

    key_id: str | None
    code: str
    count: int
    first_ms: int
    last_ms: int
    team: str | None = None
    limit_id: str | None = None


class AuditEntry(msgspec.Struct, frozen=True, gc=False):
    """A deed and its place in the audit."""

    seq: int
    deed: Audit


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """A choice of rows: seqs in (after, through], started in [from_ms, to_ms), open where None."""

    after: int = 0
    through: int
    from_ms: int | None = None
    to_ms: int | None = None


class Page(msgspec.Struct, frozen=True):
    """The stretch's rows up to `upto_seq`, oldest first; there may be none.

    `corrections` holds the rows that correct them, if they were asked for, however late booked.
    """

    upto_seq: int
    rows: Sequence[Row]
    corrections: Sequence[Row] = ()


class BookReader(Protocol):
    """Reads what reports need of one ledger.

    Each raises LedgerError without a ledger to read, and LedgerUnavailable when the database cannot
    be read now.
    """

    @property
    def name(self) -> str:
        """The name of this ledger in messages."""
        ...

    def usage(
        self,
        by: Sequence[str],
        from_ms: int | None,
        to_ms: int | None,
        zone: tzinfo,
        *,
        sums: Sequence[str] | None = None,
        team: str | None = None,
        through: int | None = None,
        key: str | None = None,
    ) -> list[UsageRow]:
        """Sums by group and currency over records started in [from_ms, to_ms), open where None.

        `by` names any of GROUPED_BY, label:NAME and tag:NAME; `month`, `day` and `hour` are of
        `zone`. The rows are sorted by group (a missing name first), then currency. Each has the
        groups' names and the currency, then ALL_SUMS or those of them that `sums` names.

        `team`, `key`: of this one alone    `through`: as the book stood at that seq

        Roll-ups answer for team, key, model, upstream and times. Every other name, and `through`,
        takes a look at each record of the range. Raises QuestionRefused for a name that cannot be
        grouped by, and where a tag or `through` would read more than RECORDS_MAX records.
        """
        ...

    def record(self, id: str) -> Entry | None:
        """One record by id; None if the ledger has none."""
        ...

    def adjustments(self, id: str) -> list[Entry]:
        """The adjustments of this record, in the order of booking."""
        ...

    def refusals(self, from_ms: int | None, to_ms: int | None) -> list[RefusalSum]:
        """The requests refused in [from_ms, to_ms) by key, reason, team and limit, the most first.

        The range is taken to the quarter hour.
        """
        ...

    def credits(self, limit_id: str | None, after: str | None, most: int) -> list[Credit]:
        """Credits, the newest first: of one limit if it is given, behind the credit `after`.

        Raises QuestionRefused where there is no credit `after`.
        """
        ...

    def price_terms(self, version: str) -> bytes | None:
        """The terms behind the amounts of records with this `price_version`; None: not known."""
        ...

    def status(self) -> Status:
        """The state of the book."""
        ...

    def head(self) -> int:
        """The last seq of the book, 0 when it is empty."""
        ...

    def narrowed(self, stretch: Stretch) -> Stretch:
        """The same rows between closer seqs, so that a month of a long book is found quickly.

        Raises LedgerError when the book ends before `through`.
        """
        ...

    def pages(
        self, stretch: Stretch, page_seqs: int = PAGE_SEQS, *, corrected: bool = False
    ) -> Generator[Page, None, None]:
        """The stretch, page by page; the last page's `upto_seq` is `through`.

        Rows never change and seqs come in commit order, so the same stretch always gives the same
        rows, also when it is read slowly. Close the generator if it is not read to its end.
        """
        ...

    def label_names(self, stretch: Stretch) -> list[str]:
        """The names of all labels in the stretch, sorted."""
        ...

    def anchor(self) -> Anchor:
        """Where the chains of the book end now. LedgerError for a book without records."""
        ...

    def proof(self, id: str) -> RecordProof | None:
        """A proof that the record is in its sealed month; None if the ledger has no such record.

        Raises LedgerError where the month is not sealed yet, or is not as it was sealed.
        """
        ...

    def archives(self) -> list[Archive]:
        """The months whose records were taken out of the book, the oldest first."""
        ...

    def closings(self) -> list[Closing]:
        """The months that were closed, in the order of closing."""
        ...

    def closed_statement(self, number: int) -> ClosedStatement | None:
        """The closed statement of that number; None: there is none."""
        ...

    def verify_step(self, part: str, place: str | None, key_file: Path | None) -> VerifyStep:
        """Verify the next rows of one of `proxy.ledger.verification.PARTS`, in one short read.

        `place` is None at first, then what the last step gave as `next`. Without a key, or with
        another one than a seal was made with, seals are not checked. NEWEST is the end of the book,
        in one step. ANCHOR is the anchor whose text is `place`.
        """
        ...


class Reader(BookReader, Protocol):
    """Reads one ledger, also for the running process. It raises as `BookReader` does."""

    def verify_shares(self, part: str, count: int, key_file: Path | None) -> Sequence[str | None]:
        """Places at which `count` walks over a part begin, each to its own end.

        [None]: it is one walk. What a share finds may be told otherwise by a walk over the whole.
        """
        ...

    def has_signatures(self) -> bool:
        """Whether a month is sealed or closed: then the key that signed it has to be here."""
        ...

    def listed(self, choice: RowChoice, before: int | None = None, most: int = 50) -> Listing:
        """At most so many rows of the choice, those that started last first.

        `before` is the seq of the last row of the page before. Raises QuestionRefused where the
        book has no such row.
        """
        ...

    def by_tariff(
        self, stretch: Stretch, known: Sequence[Tariff]
    ) -> Generator[TariffPage, None, None]:
        """The stretch, page by page: sums of the requests that a tariff is for, and the other rows.

        The caller may add to the tariffs `known` between pages. No two may be for the same request.
        Close the generator if it is not read to its end.
        """
        ...

    def sources(self, from_ms: int, records_max: int) -> dict[tuple[str, str], int]:
        """How many requests by (upstream, source) among the latest records, from a time on."""
        ...

    def served_models(self) -> list[tuple[str, str, str]]:
        """Every (upstream, model asked for, model that answered) that has a record."""
        ...

    def answers(self, dialects: Sequence[str], records_max: int) -> list[KeptAnswer]:
        """The named answers among so many of the latest records, the latest last.

        Batches are among them, whatever their dialect, if their use was not known when they were
        made.
        """
        ...

    def made_objects(
        self, dialect: str, records_max: int, objects_max: int
    ) -> list[tuple[str, str | None, str, str]]:
        """(upstream, team, key, ids) of what requests of this dialect made at vendors.

        The oldest first, of at most the latest `records_max` records.
        """
        ...

    def tenants(self) -> list[Managed]:
        """Every key and team in the database, by kind and name."""
        ...

    def audit(self, after: int, most: int) -> list[AuditEntry]:
        """At most so many entries of the audit behind that seq, oldest first."""
        ...

    def audit_head(self) -> int:
        """The last seq of the audit, 0 when it is empty."""
        ...

    def audit_problems(self, key_file: Path) -> list[str]:
        """What is wrong with the audit's chain, and with the seals that this key made."""
        ...

    def last_used_ms(self, keys: Sequence[str] | None = None) -> dict[str, int]:
        """About when each key was used last, by its id: the start of a quarter hour.

        `keys`: of these alone, which costs nothing for those beside them.
        """
        ...

    def price_terms_at(self, at_ms: int) -> bytes | None:
        """The terms stored last before that time; if there are none, the first ones stored."""
        ...

    def recent(self, since_ms: int, now_ms: int) -> list[Recent]:
        """The use since then, in the order of its start.

        Records of the last two minutes come one by one. Older ones are summed by the second, as if
        all had come at its end.
        """
        ...

    def used_by_value(self, tag: str | None, since_ms: int) -> list[ValueUse]:
        """What was used since then for each value of this tag; None: for each end user.

        All records since then are read.
        """
        ...

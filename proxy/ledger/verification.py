"""Verifies the whole book over a reader, step by step, whatever the database.

Each step is one short read of a part of the book. The next one goes on where it ended. So memory is
bounded, a running process is not held up, and a step can be asked of a process elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, Protocol

import msgspec

from proxy.core.records.chain import FINDINGS_MAX, Flaw

# What is checked. Workers take the parts in this order, so that long ones begin first.
PARTS: Final = (
    "records",
    "months",
    "rollups",
    "wide",
    "indexes",
    "credits",
    "audit",
    "prices",
    "statements",
)
RECORDS: Final = "records"
MONTHS: Final = "months"
MONTH_HEADS: Final = "[0,-1]"  # the place of months without their chunks, which records_step sees
# A smaller book is verified before a second process has begun, and is not divided into shares.
SHARED_ROWS_MIN: Final = 20_000
# What is asked for beside them: the end of the book in one step, and one anchor.
NEWEST: Final = "newest"
ANCHOR: Final = "anchor"


class VerifyStep(msgspec.Struct, frozen=True):
    """What one step found.

    rows · how many rows of the part it read    seals · of them, how many seals it checked
    foreign · seals of another key, which could not be checked
    found · how many findings there were; the list has the first of them
    next · where the part goes on; None at its end    notes · what people should know
    chunks · how many chunks of sealed months are as they were sealed
    """

    rows: int = 0
    seals: int = 0
    foreign: int = 0
    found: int = 0
    findings: Sequence[Flaw] = ()
    next: str | None = None
    notes: Sequence[str] = ()
    chunks: int = 0


class PartVerified(msgspec.Struct, frozen=True):
    """One part of the book: what was read of it, and how many things are wrong with it."""

    name: str
    rows: int
    seals: int
    seals_of_other_keys: int
    found: int


class BookVerified(msgspec.Struct, frozen=True):
    """The result for the whole book. Without findings it is as it was written.

    through · the last seq of the records that were read
    """

    ledger: str
    through: int
    parts: Sequence[PartVerified]
    findings: Sequence[Flaw]
    notes: Sequence[str]

    @property
    def found(self) -> int:
        """How many things are wrong; the list of findings may be shorter."""
        return sum(part.found for part in self.parts)


class Verifiable(Protocol):
    """What verifying needs of a reader."""

    @property
    def name(self) -> str: ...

    def head(self) -> int: ...

    def verify_step(self, part: str, place: str | None, key_file: Path | None) -> VerifyStep: ...


class Workers(Protocol):
    """Takes steps of parts, as many at once as it has workers."""

    def shares(self, part: str) -> Sequence[str | None]:
        """The places from which a part is walked over, each to its own end; [None]: as a whole."""
        ...

    def steps(self, part: str, place: str | None) -> Future[Sequence[VerifyStep]]:
        """Some steps from a place on, in their order. At least one is made."""
        ...

    def stop(self) -> None:
        """Begin nothing more, and end when each worker has ended what it is at."""
        ...


def verify(
    reader: Verifiable,
    key_file: Path | None,
    advance: Callable[[int], None] = lambda _rows: None,
    parts: Sequence[str] = PARTS,
    anchors: Sequence[str] = (),
    workers: Workers | None = None,
) -> BookVerified:
    """Verify these parts of the book, and hold it against the anchors with these texts.

    advance · is told of rows as they are read    workers · None: two threads that ask the reader

    Raises as a reader does.
    """
    through = reader.head()
    workers = _Threads(reader, key_file) if workers is None else workers
    try:
        done = _Walks(workers, advance).over(parts)
    finally:
        workers.stop()
    if key_file is not None and key_file.exists():
        for part in done:
            part.check_own_seals(key_file)
    if anchors:
        held = _PartWalk(ANCHOR)
        for text in anchors:
            held.add(reader.verify_step(ANCHOR, text, key_file))
        done.append(held)
    return BookVerified(
        reader.name,
        through,
        [part.told() for part in done],
        [finding for part in done for finding in part.findings],
        [note for part in done for note in part.notes],
    )


class _Threads:
    """See `Workers`. Most of the work is the database's own, which holds no lock of Python.

    One step is taken at a time, so that little is left to end.
    """

    def __init__(self, reader: Verifiable, key_file: Path | None) -> None:
        self._reader, self._key_file = reader, key_file
        self._pool = ThreadPoolExecutor(2, "verify")

    def shares(self, part: str) -> Sequence[str | None]:
        return [None]

    def steps(self, part: str, place: str | None) -> Future[Sequence[VerifyStep]]:
        return self._pool.submit(lambda: [self._reader.verify_step(part, place, self._key_file)])

    def stop(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _PartWalk:
    """The sums over the steps of one part, or of a share of it."""

    def __init__(self, name: str, *, is_whole: bool = True) -> None:
        """`is_whole`: it begins where the part does."""
        self.name, self.is_whole, self.ended = name, is_whole, False
        self._rows = self._seals = self._foreign = 0
        self.found = self.chunks = 0
        self.findings: list[Flaw] = []
        self.notes: list[str] = []

    @classmethod
    def of_shares(cls, shares: Sequence[_PartWalk]) -> _PartWalk:
        """The sums over the shares of a part, without findings."""
        walk = cls(shares[0].name, is_whole=False)
        for share in shares:
            walk._rows += share._rows
            walk._seals += share._seals
            walk._foreign += share._foreign
            walk.found += share.found
            walk.chunks += share.chunks
            walk.notes += share.notes
        return walk

    def add(self, step: VerifyStep) -> None:
        self._rows += step.rows
        self._seals += step.seals
        self._foreign += step.foreign
        self.found += step.found
        self.chunks += step.chunks
        self.findings += step.findings[: FINDINGS_MAX - len(self.findings)]
        self.notes += step.notes

    def check_own_seals(self, key_file: Path) -> None:
        """Find a chain of records in which the key at hand has sealed nothing.

        A person without the key can make the whole book anew under the name of another one.
        """
        if self.name == "records" and 0 < self._seals == self._foreign:
            what = (
                f"no seal was made with the key in {key_file}: it is the key of another ledger, "
                "or it was made after a loss and has sealed nothing yet, or the book was made anew"
            )
            self.found += 1
            self.findings.append(Flaw(self.name, what))

    def told(self) -> PartVerified:
        return PartVerified(self.name, self._rows, self._seals, self._foreign, self.found)


class _Walks:
    """The walks over all parts, in shares that workers take at once.

    A part in which a share finds anything is walked again as a whole, so that what is told is what
    one walk from its beginning finds.
    """

    def __init__(self, workers: Workers, advance: Callable[[int], None]) -> None:
        self._workers, self._advance = workers, advance
        self._shares: dict[str, list[_PartWalk]] = {}  # of each part, in their order
        self._under_way: dict[Future[Sequence[VerifyStep]], _PartWalk] = {}
        self._done: dict[str, _PartWalk] = {}

    def over(self, parts: Sequence[str]) -> list[_PartWalk]:
        """Walk over these parts."""
        for name in parts:
            if name != MONTHS or RECORDS not in parts:
                self._begin(name)
        while self._under_way:
            ended, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
            for future in ended:
                walk = self._under_way.pop(future)
                self._go_on(walk, self._added(walk, future.result()))
                if walk.ended and all(share.ended for share in self._shares[walk.name]):
                    self._end(walk.name, parts)
        return [self._done[name] for name in parts]

    def _begin(self, name: str, places: Sequence[str | None] = ()) -> None:
        """Walk from these places on, each to its own end; without any, over the whole part."""
        places = places or self._workers.shares(name)
        self._shares[name] = [_PartWalk(name, is_whole=place is None) for place in places]
        for walk, place in zip(self._shares[name], places, strict=True):
            self._under_way[self._workers.steps(name, place)] = walk

    def _added(self, walk: _PartWalk, steps: Sequence[VerifyStep]) -> str | None:
        """Where a walk goes on behind these steps."""
        for step in steps:
            walk.add(step)
            self._advance(step.rows)
        return steps[-1].next

    def _go_on(self, walk: _PartWalk, place: str | None) -> None:
        if place is None:
            walk.ended = True
        else:
            self._under_way[self._workers.steps(walk.name, place)] = walk

    def _end(self, name: str, parts: Sequence[str]) -> None:
        """All shares of a part are at their end."""
        shares = self._shares[name]
        found = shares[0] if len(shares) == 1 else _PartWalk.of_shares(shares)
        if not found.is_whole and (found.found or not self._has_all_chunks(found)):
            self._begin(name, [None])
            return
        self._done[name] = found
        if name == RECORDS and MONTHS in parts:
            # The walk over the records saw chunks of sealed months. The walk over the months then
            # only has to see whether these were all of them.
            seen = found.chunks > 0 and found.found == 0
            self._begin(MONTHS, [MONTH_HEADS] if seen else ())

    def _has_all_chunks(self, found: _PartWalk) -> bool:
        return found.name != MONTHS or found.chunks == self._done[RECORDS].chunks

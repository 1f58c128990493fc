"""Verifies the whole book over a reader, step by step, whatever the database.

Each step is one short read of a part of the book. The next one goes on where it ended. So memory is
bounded, a running process is not held up, and a step can be asked of a process elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

import msgspec

from proxy.core.records.chain import FINDINGS_MAX, Flaw

# What is checked. Two threads take the parts in this order, so that long ones begin first. Most of
# the work is the database's own, which holds no lock of the interpreter.
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
# What is asked for beside them: the end of the book in one step, and one anchor.
NEWEST: Final = "newest"
ANCHOR: Final = "anchor"


class VerifyStep(msgspec.Struct, frozen=True):
    """What one step found.

    rows · how many rows of the part it read    seals · of them, how many seals it checked
    foreign · seals of another key, which could not be checked
    found · how many findings there were; the list has the first of them
    next · where the part goes on; None at its end    notes · what people should know
    """

    rows: int = 0
    seals: int = 0
    foreign: int = 0
    found: int = 0
    findings: Sequence[Flaw] = ()
    next: str | None = None
    notes: Sequence[str] = ()


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


def verify(
    reader: Verifiable,
    key_file: Path | None,
    advance: Callable[[int], None] = lambda _rows: None,
    parts: Sequence[str] = PARTS,
    anchors: Sequence[str] = (),
) -> BookVerified:
    """Verify these parts of the book, and hold it against the anchors with these texts.

    `advance` is told of rows as they are read.

    Raises as a reader does.
    """
    through = reader.head()
    told, stopped = threading.Lock(), threading.Event()

    def moved(rows: int) -> None:
        with told:
            advance(rows)

    def walked(name: str) -> _PartWalk:
        try:
            return _walk(reader, key_file, name, moved, stopped)
        except BaseException:
            stopped.set()  # each other part ends with its step
            raise

    with ThreadPoolExecutor(2, "verify") as both:
        try:
            done = list(both.map(walked, parts))
        except BaseException:  # also Ctrl-C
            stopped.set()
            raise
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


class _PartWalk:
    """The sums over the steps of one part."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows = self._seals = self._foreign = self._found = 0
        self.findings: list[Flaw] = []
        self.notes: list[str] = []

    def add(self, step: VerifyStep) -> None:
        self._rows += step.rows
        self._seals += step.seals
        self._foreign += step.foreign
        self._found += step.found
        self.findings += step.findings[: FINDINGS_MAX - len(self.findings)]
        self.notes += step.notes

    def check_own_seals(self, key_file: Path) -> None:
        """Find a chain of records in which the key at hand has sealed nothing.

        A person without the key can make the whole book anew under the name of another one.
        """
        if self._name == "records" and 0 < self._seals == self._foreign:
            what = (
                f"no seal was made with the key in {key_file}: it is the key of another ledger, "
                "or it was made after a loss and has sealed nothing yet, or the book was made anew"
            )
            self._found += 1
            self.findings.append(Flaw(self._name, what))

    def told(self) -> PartVerified:
        return PartVerified(self._name, self._rows, self._seals, self._foreign, self._found)


def _walk(
    reader: Verifiable,
    key_file: Path | None,
    name: str,
    advance: Callable[[int], None],
    stopped: threading.Event,
) -> _PartWalk:
    part, place, first = _PartWalk(name), None, True
    while (first or place is not None) and not stopped.is_set():
        step = reader.verify_step(name, place, key_file)
        part.add(step)
        advance(step.rows)
        place, first = step.next, False
    return part

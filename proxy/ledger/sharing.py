"""What processes that share one ledger tell each other by it: who is there, and what is new.

A ledger that one process has alone has none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.managed import Managed
from proxy.ledger import LedgerError, backend_of
from proxy.ledger.reading import Reader

LAPSE_S: Final = 5.0  # a process that says nothing for so long is gone, or paused
LOOK_S: Final = 0.5  # between two looks at what is new, where no word of it comes


class InstanceState(StrEnum):
    """How a process stands: serving, stopped in order, silent, or given up by an operator."""

    LIVE = "live"
    LEFT = "left"
    LAPSED = "lapsed"
    FORGOTTEN = "forgotten"


class Instance(msgspec.Struct, frozen=True):
    """A process that shares the ledger.

    `silent_s`: since it was last heard, by the database. `home` names its data directory, and what
    it holds in a shared quota. `clear_ms`: all that began in it before is booked; None: not known.
    """

    name: str
    state: InstanceState
    started_at_ms: int
    seen_at_ms: int
    silent_s: float
    home: str = ""
    clear_ms: int | None = None


class HeardOf(msgspec.Struct, frozen=True):
    """How much of what changes a process knows: the version of keys and teams, and credits."""

    tenants: int = 0
    credits: int = 0


class News(msgspec.Struct, frozen=True):
    """What was newer than something known, and what is known with it."""

    known: HeardOf
    tenants: Sequence[Managed] = ()
    credits: Sequence[Credit] = ()


class Writer(msgspec.Struct, frozen=True):
    """A journal of which the book has all closes up to `position`.

    may_have_more · its process is there, or has ended without a word
    """

    name: str
    position: int
    may_have_more: bool


class BookState(msgspec.Struct, frozen=True):
    """One state of the book: what `reader` answers, and how far each journal is in it."""

    reader: Reader
    writers: Sequence[Writer]


class NameTaken(LedgerError):
    """Another process has the name of this one; the message says what to do."""


class Sharing(Protocol):
    """One process's word with the others. Raises LedgerUnavailable while the database is away."""

    async def arrive(self, name: str, home: str) -> None:
        """Take the name for this process, which runs on the data directory `home`.

        Raises NameTaken where another process has the name and is alive.
        """
        ...

    async def look(self, clear_ms: int | None = None) -> HeardOf:
        """What is there to know, as soon as something may be new, or after LOOK_S.

        Others see by it that this process lives, and that it has booked all that began in it before
        `clear_ms`. Raises NameTaken where another has the name.
        """
        ...

    async def news(self, known: HeardOf) -> News:
        """What is newer, in the order in which it was written."""
        ...

    async def leave(self) -> None:
        """Say that this process has ended its work in order."""
        ...

    def one_state(self) -> AbstractContextManager[BookState]:
        """One state of the book, to be read by one thread. Blocks. Raises as `Reader` does."""
        ...

    async def instances(self) -> list[Instance]:
        """All processes that were ever there and are not forgotten, by name."""
        ...

    async def forget(self, name: str) -> Instance | None:
        """Give up a process that will not come back; returns it as it was, None: there is none.

        One that lives is only returned.
        """
        ...

    async def take_over(self, name: str, home: str = "") -> bool:
        """Take the place of a dead process, whose journal this one is about to book.

        False, and nothing is changed, where it was heard of within LAPSE_S; unless it ran on the
        data directory `home`, whose lock says that it is dead. If it was only paused, it must not
        go on: it learns at its next look that its name was taken (NameTaken).
        """
        ...

    async def settled(self, name: str) -> None:
        """Say that all of a process whose place was taken is booked, as if it had left."""
        ...

    async def aclose(self) -> None:
        """End the connection."""
        ...


def is_shared(url: str) -> bool:
    """Whether several processes may use a ledger of this kind at once."""
    return not url.startswith("sqlite:")


def connect_sharing(url: str) -> Sharing | None:
    """The word with others that use the ledger; None where it has one process alone."""
    if not is_shared(url):
        return None
    found: Sharing = backend_of(url, "connect_sharing").connect_sharing(url)
    return found

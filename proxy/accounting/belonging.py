"""Tells a journal of another ledger, before anything of it is booked.

Every installation has a journal `w0`. One that was put beside the wrong ledger would have its first
records skipped, as many as are booked here, and the rest booked here for good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from proxy.core.ids import made_at_ms
from proxy.journal import JournalReader
from proxy.ledger import Ledger, LedgerError, Reader
from proxy.ledger.asking import answer_of

# How far before the ledger's position its newest record is looked for, in entries.
_BACK: Final = (256, 65_536)
_BATCH: Final = 256


def stranger(directory: Path, position: int, reader: Reader) -> str | None:
    """A record that this journal has as booked and the ledger has not; None: it may belong to it.

    `position` is the ledger's place in the journal: what stands up to there is booked. Raises
    OSError and what the reader raises.
    """
    id = _newest_booked(directory, position)
    if id is None or reader.record(id) is not None:
        return None
    try:
        began_ms = made_at_ms(id)
    except ValueError:
        return None
    if any(archive.holds(began_ms) for archive in reader.archives()):
        return None
    return id


async def check_belongs(directory: Path, ledger: Ledger, reader: Reader) -> None:
    """Refuse a journal of another ledger. Raises LedgerError, LedgerUnavailable, OSError."""
    position = await ledger.position(directory.name)
    id = await answer_of(stranger, directory, position, reader)
    if id is not None:
        raise LedgerError(why_strange(directory, id))


def why_strange(directory: Path, id: str) -> str:
    """What to say of a journal that has that record as booked."""
    return (
        f"the journal {directory} is of another ledger: its record {id} should be booked here, and "
        "is not. Nothing of it was booked. Move the directory to its own ledger, or bring back the "
        "ledger that it belongs to"
    )


def _newest_booked(directory: Path, position: int) -> str | None:
    """The id of the newest record up to the position; None: the journal has none near it."""
    for back in _BACK:
        journal = JournalReader(directory, max(0, position - back))
        found = None
        try:
            while closes := journal.closes(_BATCH, position):
                found = closes[-1][1].id
        finally:
            journal.close()
        if found is not None or back >= position:
            return found
    return None

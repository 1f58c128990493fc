"""Keeps the file of the keys and teams that this process knows, for a start without the ledger.

Only a ledger that several processes share has one: the others lie on this machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Final

from proxy.core.managed import State
from proxy.tenants.directory import Directory
from proxy.tenants.known_file import KnownFile, KnownKeys

LOG = logging.getLogger("tollkeeper.server")
STAMP_S: Final = 1.0  # between two words that the file is still what the ledger says
TOLD_MAX: Final = 10  # names in a line of the log


class KeptKeys:
    """Writes what is in effect, and compares what the ledger says with what was known before.

    One call works at a time but for `heard`. `failures`: how often it could not be written.
    """

    def __init__(self, file: KnownFile, before: KnownKeys | None) -> None:
        self._file = file
        self._before = before  # what the file said before the ledger was read at the start
        self._stamped_s = 0.0
        self.failures = 0

    async def write(self, directory: Directory, version: int, now_ms: int) -> None:
        """Have the file say what is in effect. A failure is told, and takes the file away."""
        before, self._before = self._before, None
        anew = before is not None and before.version > version
        if before is not None and anew:
            _tell_older(before, directory, version)
        rows = list(directory.rows.values())
        try:
            await asyncio.to_thread(self._file.write, version, rows, now_ms, anew=anew)
        except OSError as error:
            self.failures += 1
            LOG.error(
                "%s cannot be written, so this process cannot start while the ledger is away: %s",
                self._file.path,
                error.strerror or error,
            )

    async def heard(self, directory: Directory, version: int, now_ms: int) -> None:
        """Note that the ledger was heard; what another process has overtaken is written again."""
        if monotonic() - self._stamped_s < STAMP_S:
            return
        self._stamped_s = monotonic()
        try:
            is_current = await asyncio.to_thread(self._file.heard, version, now_ms)
        except OSError as error:
            LOG.debug("%s cannot be stamped: %s", self._file.path, error)
            return
        if not is_current:
            await self.write(directory, version, now_ms)


def _tell_older(before: KnownKeys, directory: Directory, version: int) -> None:
    """The ledger came back as it was earlier: what was closed since may be open again."""
    reopened = [
        f"{row.kind} {row.name}"
        for row in before.rows
        if row.state is not State.ACTIVE and directory.state(row.kind, row.name) is State.ACTIVE
    ]
    LOG.error(
        "the ledger has keys and teams of an earlier state (version %d, this process knew %d): was"
        " it restored from a backup? What was ordered since has to be ordered again%s",
        version,
        before.version,
        _listed(reopened),
    )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - TOLD_MAX} more" if len(names) > TOLD_MAX else ""
    return f". Closed before, and open now: {', '.join(sorted(names)[:TOLD_MAX])}{more}"

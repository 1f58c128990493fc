"""Whether the process takes requests, and if not, why: start, stop, or a failing journal."""

from __future__ import annotations

import logging
from typing import Literal

from proxy.journal import Journal

LOG = logging.getLogger("tollkeeper.server")

_WORDS = {"starting": "the process is starting", "draining": "the process is stopping"}


class Readiness:
    """What /readyz, the admin API and the log say. `phase` is None while the process serves."""

    def __init__(self, journal: Journal) -> None:
        self.phase: Literal["starting", "draining"] | None = "starting"
        self._journal = journal
        self._told: str | None = None

    def serve(self) -> None:
        """The process has started."""
        self.phase = None

    def drain(self) -> None:
        """The process stops."""
        self.phase = "draining"

    def code(self) -> str | None:
        """The error code that /readyz answers with; None if the process is ready."""
        if self.phase is not None:
            return self.phase
        return None if self._journal.ready else "journal_unavailable"

    def reason(self) -> str | None:
        """The same in words, which may name files; for the admin API."""
        return self._journal.why_not_ready if self.phase is None else _WORDS[self.phase]

    def tell(self) -> None:
        """Log one line when the journal stops taking entries, and one when it takes them again."""
        reason = self._journal.why_not_ready
        if reason != self._told:
            if reason is None:
                LOG.warning("ready again: the journal can be written")
            else:
                LOG.error("not ready, requests are refused: %s", reason)
            self._told = reason

"""How a journal behaves, and the one error its callers handle."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from proxy.journal.frames import FRAME_BYTES_MAX

SEGMENT_BYTES_MIN: Final = 4 * FRAME_BYTES_MAX


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`sync`: `interval` syncs every `interval_s`; with `always` callers wait for `Journal.synced` too."""

    sync: Literal["interval", "always"] = "interval"
    interval_s: float = 0.1
    keep_s: float = 7 * 86_400.0
    size_max_bytes: int = 10 * 2**30
    segment_bytes: int = 16 * 2**20

    @property
    def segment_bytes_used(self) -> int:
        """A small journal gets small segments: one being written, one spare and two that are settling must fit in it."""
        return max(SEGMENT_BYTES_MIN, min(self.segment_bytes, self.size_max_bytes // 4))


class JournalUnavailable(Exception):
    """The journal cannot take what was to be written; the message says why. Nothing was written."""

    @property
    def reason(self) -> str:
        return str(self)


class JournalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of a journal."""

    writer: str
    in_use: bool                     # a process holds it
    segments: int                    # plain and finished ones
    finished: int                    # compressed ones among them
    bytes: int
    last_seq: int
    open_exchanges: int
    unbooked_closes: int             # None of them is in the ledger yet
    oldest_undone: str | None        # file name of the oldest segment that still matters
    oldest_undone_at_ms: int | None  # when it was last written
    skipped_bytes: int

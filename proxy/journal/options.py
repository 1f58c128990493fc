"""How a journal behaves: when it syncs, how much it keeps and in what pieces."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from proxy.journal.frames import FRAME_BYTES_MAX

SEGMENT_BYTES_MIN: Final = 4 * FRAME_BYTES_MAX


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`sync`: `interval` syncs every `interval_s`; under `always` callers also await `synced`."""

    sync: Literal["interval", "always"] = "interval"
    interval_s: float = 0.1
    keep_s: float = 7 * 86_400.0
    size_max_bytes: int = 10 * 2**30
    segment_bytes: int = 16 * 2**20

    @property
    def segment_bytes_used(self) -> int:
        """The size of a segment: in a small journal a fourth of it, for these must fit.

        One segment is written, one is spare, and two are being settled.
        """
        return max(SEGMENT_BYTES_MIN, min(self.segment_bytes, self.size_max_bytes // 4))

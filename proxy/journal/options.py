"""How a journal behaves: when it syncs, how much it keeps and in what pieces."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from proxy.journal.frames import FRAME_BYTES_MAX

SEGMENT_BYTES_MIN: Final = 4 * FRAME_BYTES_MAX


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`sync`: `interval` syncs every `interval_s`; under `always` callers also await `synced`.

    Nothing here has a default: the config has them, and explains them to operators.
    """

    sync: Literal["interval", "always"]
    interval_s: float
    keep_s: float
    size_max_bytes: int
    segment_bytes: int

    @property
    def segment_bytes_used(self) -> int:
        """The size of a segment: in a small journal a fourth of it, for these must fit.

        One segment is written, one is spare, and two are being settled.
        """
        return max(SEGMENT_BYTES_MIN, min(self.segment_bytes, self.size_max_bytes // 4))

"""Request heads that are not whole yet.

A client needs no key to send one, so all of them together are bounded in size.
"""

from __future__ import annotations

from collections.abc import Callable

HEAD_MAX = 65536  # bytes of a whole head
HEADS_MAX = 16 << 20  # bytes of all heads that are not whole: of usual ones ten thousand


class Heads:
    """The bytes of all heads that are not whole. `shed` is called where they are too many."""

    def __init__(self, shed: Callable[[], None]) -> None:
        self.size_bytes = 0
        self._shed = shed

    def change(self, by_bytes: int) -> None:
        self.size_bytes += by_bytes
        if by_bytes > 0 and self.size_bytes > HEADS_MAX:
            self._shed()

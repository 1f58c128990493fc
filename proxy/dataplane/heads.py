"""What all connections of a listener know of request heads.

That is how many bytes are held of those that are not whole, and which of the others are alike. A
client needs no key to send an unfinished head, so all of them together are bounded in size.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary, ref

from proxy.core.http.request_head import RequestHead

HEAD_MAX = 65536  # bytes of a whole head
HEADS_MAX = 16 << 20  # bytes of all heads that are not whole: of usual ones ten thousand


class Heads:
    """`size_bytes`: of all heads that are not whole. `shed` is called where they are too many."""

    def __init__(self, shed: Callable[[], None]) -> None:
        self.size_bytes = 0
        self._shed = shed
        # By the bytes that they are known again by. None is kept for this: each goes with the last
        # connection that has it, and its credential with it.
        self._known: WeakValueDictionary[bytes, RequestHead] = WeakValueDictionary()
        self._latest: ref[RequestHead] | None = None

    def same(self, head: RequestHead) -> RequestHead:
        """The head that another connection has brought before, or else this one.

        Its bytes are those of this one, and what follows from them was found. A client with many
        connections sends the same head on all of them: three kilobytes are kept once.
        """
        key = head.key
        if key is None:
            return head
        found = self._known.get(key)
        if found is not None and found.known is not None:
            head = found
        else:
            self._known[key] = head
        self._latest = ref(head)
        return head

    def guess(self) -> RequestHead | None:
        """The head that came last: a new connection is likely to begin with it too."""
        head = None if self._latest is None else self._latest()
        return None if head is None or head.known is None else head

    def change(self, by_bytes: int) -> None:
        self.size_bytes += by_bytes
        if by_bytes > 0 and self.size_bytes > HEADS_MAX:
            self._shed()

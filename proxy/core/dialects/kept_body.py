"""The body of a JSON answer as it comes; of one too large to keep, its two ends."""

from __future__ import annotations

EDGE_BYTES = 64 * 1024  # of each end


class KeptBody:
    """Keeps a body up to `bytes_max`, and the two ends of a larger one: then it is `cut`."""

    __slots__ = ("_head", "_pieces", "_size", "_tail", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._size = 0
        self._pieces: list[bytes] = []
        self._head = b""
        self._tail = bytearray()

    @property
    def cut(self) -> bool:
        return bool(self._head)

    def add(self, piece: bytes) -> None:
        """The next piece of the body."""
        self._size += len(piece)
        if not self._head:
            self._pieces.append(piece)
            if self._size <= self.bytes_max:
                return
            whole = self.whole()
            self._head = whole[:EDGE_BYTES]
            self._tail += whole[-EDGE_BYTES:]
        else:
            self._tail += piece
            if len(self._tail) > 2 * EDGE_BYTES:
                del self._tail[:-EDGE_BYTES]

    def whole(self) -> bytes:
        """The whole body, once: it is not kept any longer."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole

    def ends(self) -> tuple[bytes, bytes]:
        """The first and the last bytes of a body that was cut."""
        return self._head, bytes(self._tail[-EDGE_BYTES:])

    @property
    def kept_bytes(self) -> int:
        """How many bytes it holds in memory."""
        return len(self._head) + len(self._tail) + sum(map(len, self._pieces))

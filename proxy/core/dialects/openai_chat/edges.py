"""The body of a JSON answer as it comes. Of one that is too large to keep, the first and last
bytes: usage stands at one of its ends."""

from __future__ import annotations

import json

from proxy.core.dialects.openai_chat.shapes import Answer, read_answer, read_leniently

_BOM = b"\xef\xbb\xbf"
_EDGE_BYTES = 64 * 1024  # of each end
_EDGE_TRIES_MAX = 8


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
            self._head = whole[:_EDGE_BYTES]
            self._tail += whole[-_EDGE_BYTES:]
        else:
            self._tail += piece
            if len(self._tail) > 2 * _EDGE_BYTES:
                del self._tail[:-_EDGE_BYTES]

    def whole(self) -> bytes:
        """All of it, once; it is not kept any longer."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole

    def edge(self) -> Answer | None:
        """Of a body that was cut, the members around its usage."""
        return edge_of(self._head, bytes(self._tail[-_EDGE_BYTES:]))

    @property
    def kept_bytes(self) -> int:
        """What it holds in memory."""
        return len(self._head) + len(self._tail) + sum(map(len, self._pieces))


def edge_of(head: bytes, tail: bytes) -> Answer | None:
    """The members around the usage at the end, as nearly all have it, or at the beginning
    (llama.cpp's embeddings)."""
    return _trailing(tail) or _leading(head) or _last(tail)


def _trailing(tail: bytes) -> Answer | None:
    """What follows the last `"usage"` up to the end, if that closes exactly one object: then the
    object is the answer itself, and the usage its own."""
    at = len(tail)
    for _ in range(_EDGE_TRIES_MAX):
        at = tail.rfind(b'"usage"', 0, at)
        if at < 0:
            return None
        answer = read_answer(b"{" + tail[at:])
        if answer is not None:
            return answer
    return None


def _last(tail: bytes) -> Answer | None:
    """What follows the last `"usage"`, if it is not quite JSON."""
    at = tail.rfind(b'"usage"')
    return None if at < 0 else read_leniently(b"{" + tail[at:])


def _leading(head: bytes) -> Answer | None:
    """What stands before and in a `"usage"` that the top level opens with, cut off behind it."""
    at = -1
    text = head.removeprefix(_BOM).decode("utf-8", "replace")
    for _ in range(_EDGE_TRIES_MAX):
        at = text.find('"usage"', at + 1)
        if at < 0:
            return None
        start = text.find("{", at)
        try:
            _, end = json.JSONDecoder().raw_decode(text, start if start >= 0 else len(text))
        except (ValueError, RecursionError):
            continue
        # One bracket closes it only if it is the top level that was cut off.
        answer = read_leniently((text[:end] + "}").encode())
        if answer is not None:
            return answer
    return None

"""Answers that are given again to who asks again under the same `Idempotency-Key`.

So a client whose connection broke can ask once more, and makes no second key. They are kept in
memory for a day; after a restart, asking again is refused since the name exists.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic

import msgspec

from proxy.core.errors import ProxyError, invalid_request

KEPT_S = 24 * 3600.0
KEPT_MAX = 10_000
KEPT_BYTES_MAX = 32 * 2**20  # of all answers
KEY_CHARS_MAX = 255

_Place = tuple[str, str, str]  # who asked, of what, under which key


class _Kept(msgspec.Struct, frozen=True):
    """An answer, or the work on it, and the digest of what was asked."""

    digest: bytes
    since_s: float
    answer: asyncio.Task[bytes]

    @property
    def size_bytes(self) -> int:
        """Of the answer; 0 while it is worked on."""
        done = self.answer.done() and not self.answer.cancelled()
        return len(self.answer.result()) if done and self.answer.exception() is None else 0


class Replays:
    """The answers of the last day, the oldest first."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._kept: OrderedDict[_Place, _Kept] = OrderedDict()
        self._bytes = 0
        self._now_s = now_s

    async def once(
        self, who: str, what: str, key: str, body: bytes, answer: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, bool]:
        """The answer, and whether it was given before. A refusal is not kept.

        Raises ProxyError 422 where the same key came with another body.
        """
        if not (0 < len(key) <= KEY_CHARS_MAX and key.isascii() and key.isprintable()):
            raise invalid_request(
                f"An Idempotency-Key has 1 to {KEY_CHARS_MAX} printable ASCII characters.",
                param="Idempotency-Key",
            )
        self._forget()
        place, digest = (who, what, key), hashlib.sha256(body).digest()
        known = self._kept.get(place)
        if known is None:
            return await self._first(place, digest, answer), False
        if known.digest != digest:
            raise ProxyError(
                422,
                "invalid_request_error",
                "idempotency_key_reused",
                "This Idempotency-Key came with another body before: use a new one.",
                param="Idempotency-Key",
            )
        return await asyncio.shield(known.answer), True

    async def _first(
        self, place: _Place, digest: bytes, answer: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        async def work() -> bytes:
            return await answer()

        # It goes on when its client leaves: the next one who asks gets its answer.
        kept = _Kept(digest, self._now_s(), asyncio.create_task(work()))
        self._kept[place] = kept
        kept.answer.add_done_callback(lambda done: self._ended(place, kept, done))
        return await asyncio.shield(kept.answer)

    def _ended(self, place: _Place, kept: _Kept, done: asyncio.Task[bytes]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._kept.pop(place, None)
            return
        if self._kept.get(place) is kept:
            self._bytes += len(done.result())
            self._forget()

    def _forget(self) -> None:
        """Drops what is too old, and the oldest of too many."""
        too_old_s = self._now_s() - KEPT_S
        while self._kept:
            place, oldest = next(iter(self._kept.items()))
            if (
                oldest.since_s > too_old_s
                and len(self._kept) <= KEPT_MAX
                and self._bytes <= KEPT_BYTES_MAX
            ):
                return
            del self._kept[place]
            self._bytes -= oldest.size_bytes

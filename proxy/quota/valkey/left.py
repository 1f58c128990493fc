"""What another process holds in the shared store, ended for it: it is gone and its journal booked.

This connection takes no part in the building of counts: it has nothing to hand in.
"""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.core.limits.decisions import Used
from proxy.quota import QuotaUnavailable
from proxy.quota.left import HeldRequest
from proxy.quota.valkey.calls import EPOCH_KEY, Calls, Epoch
from proxy.quota.valkey.lines import used_pairs
from proxy.quota.valkey.link import Link, Peer
from proxy.quota.valkey.requests import read

# So long what was given up is known, if its process comes back after all: the longest window of a
# limit but for totals, and some days.
GIVEN_UP_MS: Final = 35 * 86_400_000
AGAIN_S: Final = 0.1
_NOTHING: Final = Used(requests=0)


class ValkeyLeftHolds:
    """See `proxy.quota.left.LeftHolds`. It is the visitor of its own connection."""

    def __init__(self, link: Link, calls: Calls, timeout_s: float) -> None:
        self._link = link
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._calls = calls
        self._looked: Epoch | None = None  # in which it was asked what is held
        self._is_missing = False  # in the counts of now, something that was given up
        calls.when_stale(lambda: link.drop("the counts were built anew"))

    async def meet(self, peer: Peer) -> None:
        """Look which epoch the server has; without one nothing is held."""
        value: bytes | None = await peer.connection.call(b"GET", EPOCH_KEY)
        id, _, run_id = (value or b"").partition(b"|")
        is_valid = bool(id) and run_id == peer.run_id.encode()
        self._calls.use(Epoch(id, run_id) if is_valid else None)

    def connected(self) -> None:
        """Nothing is waiting to be sent."""

    def disconnected(self) -> None:
        """The next call says so."""

    async def requests(self) -> list[HeldRequest]:
        """See `LeftHolds.requests`."""
        answer = await self._calls.ask(b"left", ())
        self._looked = self._calls.epoch
        return [_request(*told) for told in answer[2]]

    async def settle(self, held: HeldRequest, used: Used | None) -> None:
        """See `LeftHolds.settle`."""
        pairs = used_pairs(_NOTHING if used is None else used)
        await self._calls.ask(b"settle", (held.attempt, pairs, False))

    async def give_up(self, held: HeldRequest, used: Used) -> None:
        """See `LeftHolds.give_up`.

        Counts that were built anew since the look were built before its record was booked.
        """
        until_s = self._loop.time() + self._timeout_s
        while True:
            try:
                if self._looked and self._calls.epoch not in (None, self._looked):
                    self._is_missing = True
                    return
                await self._calls.ask(b"give_up", (held.attempt, used_pairs(used), GIVEN_UP_MS))
                return
            except QuotaUnavailable:
                # It is booked, and the next run would not know it in counts that are built now.
                if not self._looked or self._loop.time() > until_s:
                    raise
                await asyncio.sleep(AGAIN_S)

    async def gone(self) -> None:
        """See `LeftHolds.gone`."""
        await self._calls.ask(b"gone", ())
        if self._is_missing:  # then all is built once more, from a book that has it
            await self._calls.ask(b"distrust", ())

    async def aclose(self) -> None:
        """See `LeftHolds.aclose`."""
        await self._link.aclose()


def _request(attempt: bytes, stored: bytes, output_tokens: int, given_up: int) -> HeldRequest:
    name = attempt.decode()
    return HeldRequest(name, read(name, stored), output_tokens, given_up == 1)

"""What a process that is gone still holds in a quota that many share.

It ends as the book says, when the journal of that process is booked. Where the journal is lost, it
is given up: it counts as used, and a record that still comes counts what it says beyond that.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from proxy.core.entries import Opened
from proxy.core.limits.decisions import Used
from proxy.quota import QuotaError, module_of


class HeldRequest(msgspec.Struct, frozen=True):
    """What is held for one request.

    attempt · its name in the store    opened · its opening, with the most input that is held; None:
    not known    output_tokens · the most that are held    given_up · it was counted so before
    """

    attempt: str
    opened: Opened | None
    output_tokens: int
    given_up: bool = False

    @property
    def id(self) -> str:
        """The id of its exchange."""
        return self.attempt.removesuffix("+")


class LeftHolds(Protocol):
    """The holds of one process. Each method raises QuotaUnavailable, and may be called again."""

    async def requests(self) -> list[HeldRequest]:
        """All that it holds, and what was given up."""
        ...

    async def settle(self, held: HeldRequest, used: Used | None) -> None:
        """End one with what the book says was used; None: it was never sent."""
        ...

    async def give_up(self, held: HeldRequest, used: Used) -> None:
        """End one with what is charged for it, which is booked already, without its journal."""
        ...

    async def gone(self) -> None:
        """Wait for nothing of this process any more; it is not seen as silent either."""
        ...

    async def aclose(self) -> None:
        """Leave the store."""
        ...


async def connect_left(url: str, instance: str, timeout_s: float) -> LeftHolds | None:
    """What this process holds in the store; None where a store has no other processes.

    `instance` is its `SharedOptions.instance`. Raises QuotaError.
    """
    if url == "memory:":
        return None
    module = module_of(url, "connect_left")
    if module is None:
        raise QuotaError(f"quota.url: the store {url.partition(':')[0][:20]!r} is not shared")
    found: LeftHolds = await module.connect_left(url, instance, timeout_s)
    return found

"""The quota: how much of each limit is used and held right now. A projection of the ledger and of
credits, rebuilt from them at the start.

`connect(url, …)` opens the backend named by the URL's scheme (`memory:` is `proxy.quota.memory`).
Every request reserves what it may use of all its limits in
one step, or is refused and takes nothing; every reservation ends in `settle` or `void`, once.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from typing import Protocol

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import LimitState, Refused


class QuotaUnavailable(Exception):
    """The store cannot say now whether a request may go. Nothing is taken; the request is refused
    with 503 `quota_unavailable`."""


class QuotaError(Exception):
    """The store cannot be used as it is, and waiting will not help. The message says why and what
    to do."""


class Past(msgspec.Struct, frozen=True, gc=False):
    """What was used before this store lived: one record, or the sum of many that lie in one window
    of each of `limits`.

    A record counts in rates too, a sum only in days, weeks, months and totals; so name only the
    limits that it is for.
    """

    limits: tuple[Limit, ...]
    started_at_ms: int
    used: Used


class Crossing(msgspec.Struct, frozen=True):
    """A limit has been used up to a share (in millionths) at which to warn: once in each window, of
    a rate once in each period."""

    state: LimitState
    share_ppm: int


class Breach(msgspec.Struct, frozen=True):
    """Requests used more of a strict limit than their bound: `count` of them since last told, the
    latest `used` instead of `bound`."""

    limit: Limit
    count: int
    bound: int
    used: int


class Reservation(Protocol):
    """A request that was let through and what it holds, until it is settled or void."""

    @property
    def exchange_id(self) -> str: ...

    @property
    def exceeded(self) -> tuple[Limit, ...]:
        """The limits that only warn and that this request is beyond."""
        ...

    @property
    def tightest(self) -> LimitState | None:
        """How the limit of the caller's team or key stands of which the smallest share is left;
        None: they have none."""
        ...


class Quota(Protocol):
    """What the gateway, the exchange, the recorder and the admin plane need of a store. `now_ms` is
    time of day, of a clock that does not run back.

    What ends a reservation does not wait: a store beyond this process queues it.
    """

    async def reserve(
        self, limits: Sequence[Limit], ask: Demand, now_ms: int
    ) -> Reservation | Refused:
        """Take what the request is expected to use of every limit, in one step; or nothing of any,
        if one refuses. Raises QuotaUnavailable."""
        ...

    async def refusal(self, limits: Sequence[Limit], ask: Demand, now_ms: int) -> Refused | None:
        """What `reserve` would refuse the request with right now; nothing is taken. Raises
        QuotaUnavailable."""
        ...

    async def extend(
        self, reservation: Reservation, output_tokens: int, charge_nano: int | None, now_ms: int
    ) -> LimitState | None:
        """A stream outgrows what it took: from now on `output_tokens` and `charge_nano` are
        expected of it in all.

        None: so be it. Else how the limit stands that refuses (`cut`, `strict`); then nothing more
        is taken of any, and the stream is to be ended, or
        extended by no more than what is `remaining`.
        """
        ...

    def settle(self, reservation: Reservation, used: Used, now_ms: int) -> None:
        """The request is over, and this is what its record says. What it held and did not use is
        free again."""
        ...

    def void(self, reservation: Reservation, now_ms: int) -> None:
        """Nothing was sent: as if it had never been."""
        ...

    def release_slots(self, reservation: Reservation) -> None:
        """The client has left: its places among the concurrent requests are free at once, whatever
        is still read."""
        ...

    def grant(self, credit: Credit, now_ms: int) -> None:
        """A credit counts from now on. Idempotent by id."""
        ...

    def adjust(self, limits: Sequence[Limit], started_at_ms: int, used: Used, now_ms: int) -> None:
        """The book changed: `used` (differences) counts in the windows of the record's start that
        are still open. Rates flow on: they are not told."""
        ...

    async def restore(
        self, past: Iterable[Past], credits: Iterable[Credit], *, since_ms: int, now_ms: int
    ) -> None:
        """Build the counts that this store does not have yet; those that it has are left alone. At
        the start, and for new limits before a reload takes effect.

        `since_ms`: from there on every record is among `past`, which is what rates are rebuilt from
        (see `Rules.lookback_ms`).
        """
        ...

    def forget(self, limits: Iterable[Limit]) -> None:
        """Nobody has these limits any more: their counts go, and begin anew from the book should
        they ever come back. What runs ends as it began."""
        ...

    async def states(self, limits: Iterable[Limit], now_ms: int) -> list[LimitState]:
        """How these limits stand."""
        ...

    def limits(self) -> tuple[Limit, ...]:
        """Every limit that has a count here."""
        ...

    def warnings(self, now_ms: int) -> list[Crossing | Breach]:
        """What there is to warn of since the last call."""
        ...


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def connect(
    url: str, zone: tzinfo, *, monotonic_ms: Callable[[], int] = _monotonic_ms
) -> Quota:
    """Open the store. `zone` is that of days, weeks and months; rates flow by `monotonic_ms`, which
    nobody sets. Raises QuotaError with the reason."""
    scheme = url.partition(":")[0]
    try:
        backend = importlib.import_module(f"{__name__}.{scheme}") if scheme.isidentifier() else None
    except ModuleNotFoundError:
        backend = None
    opener = getattr(backend, "connect", None)
    if opener is None:
        raise QuotaError(f"quota.url {url!r}: no such kind of store; use memory:")
    quota: Quota = await opener(url, zone, monotonic_ms=monotonic_ms)
    return quota

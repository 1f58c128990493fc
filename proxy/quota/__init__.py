"""The quota: how much of each limit is used and held right now.

It is computed from the ledger and from credits, and is rebuilt from them at the start.
`connect(url, …)` opens the backend named by the URL's scheme (`memory:` is `proxy.quota.memory`).

Every request reserves what it may use of all its limits in one step, or is refused and takes
nothing. Every reservation ends in `settle` or `void`, once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from types import ModuleType
from typing import Protocol

import msgspec

from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Enforce, Limit
from proxy.core.limits.state import LimitState, Refused
from proxy.system.backends import backend

# Of one limit, that have counts of their own. What callers make up gets them at most so many times
# the limit and once more, so it is no larger than most have users; and each takes 1.5 kB of memory.
VALUES_MAX = 10_000


class QuotaUnavailable(Exception):
    """The store cannot say now whether a request may go.

    Nothing is taken, and the request is refused with 503 `quota_unavailable`.
    """


class QuotaError(Exception):
    """The store cannot be used as it is, and waiting will not help.

    The message says why and what to do.
    """


class Past(msgspec.Struct, frozen=True, gc=False):
    """Past use, to restore counters: one record, or a sum within one window of each limit.

    A record counts in rates too. A sum counts only in days, weeks, months and totals. So `limits`
    names only the limits in which it counts.
    """

    limits: tuple[Limit, ...]
    started_at_ms: int
    used: Used


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All past use as one state of the ledger has it, to build every count from.

    past, credits, since_ms, now_ms · as for `Quota.restore`
    positions · for each journal the place up to which its closes are in `past`
    live · the journals whose processes may have closes behind that
    """

    past: Iterable[Past]
    credits: Iterable[Credit]
    since_ms: int
    now_ms: int
    positions: Mapping[str, int]
    live: Sequence[str]


class Owed(msgspec.Struct, frozen=True):
    """The closes of this process' journal that counts were built without: in (after, upto]."""

    after: int
    upto: int


class Ended(msgspec.Struct, frozen=True):
    """What is in one of them. Counts take each `id` once."""

    id: str
    past: Past


class Standing(msgspec.Struct, frozen=True):
    """How the counts stand that this process shares with others.

    epochs · how often they were built anew, as far as this process has seen
    took_s · how long it took when this process built them last; None: it did not yet
    partial_s · for how long strict limits have been waiting for whole counts; 0: they are whole
    waiting · the journals whose processes have not handed in what they used
    """

    epochs: int = 0
    took_s: float | None = None
    partial_s: float = 0.0
    waiting: Sequence[str] = ()


class Crossing(msgspec.Struct, frozen=True):
    """The use of a limit has reached a share (in millionths) at which to warn.

    It is told once in each window; of a rate, once in each period.
    """

    state: LimitState
    share_ppm: int


class Breach(msgspec.Struct, frozen=True):
    """Requests used more of a strict limit than their bound.

    There were `count` of them since this was last told; the latest used `used` instead of `bound`.
    """

    limit: Limit
    count: int
    bound: int
    used: int


class SilentHolds(msgspec.Struct, frozen=True):
    """What processes hold of which nothing was heard for 5 s.

    count · requests    oldest_ms · the age of the oldest; 0: there is none
    """

    count: int = 0
    oldest_ms: int = 0


class SharedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How this process uses a store that others share.

    instance · the name of this process, which no other has
    timeout_s · how long a request waits for an answer
    counted · modes of limits under which requests pass while the store is away; they are counted
        once it is back
    outage_max_s · for so long; then they are refused, too
    journal · the name of this process' journal, by which the ledger knows it
    position · up to where that journal is written; None: what an earlier life left open is not yet
    """

    instance: str = "tollkeeper"
    timeout_s: float = 0.25
    counted: frozenset[Enforce] = frozenset({Enforce.WARN, Enforce.FINISH, Enforce.CUT})
    outage_max_s: float = 60.0
    journal: str = ""
    position: Callable[[], int | None] = lambda: 0


class SharedCounts(Protocol):
    """What keeps counts whole that processes share, and that may be lost under them."""

    async def lost(self) -> None:
        """Wait until the counts are gone and have to be built anew."""
        ...

    async def rebuild(self, book: Callable[[], Awaitable[Book]]) -> bool:
        """Build all counts anew if they are lost, or wait until another process has.

        `book` is asked only where this one builds them. Returns whether there are counts now.
        Raises what `book` raises.
        """
        ...

    async def owed(self) -> Owed:
        """Wait until counts were built without some closes of this process' journal."""
        ...

    async def hand_in(self, owed: Owed, ended: Sequence[Ended], now_ms: int) -> None:
        """Count what these closes say."""
        ...

    async def whole(self) -> None:
        """Wait until the counts have all that was used, so that strict limits may go by them."""
        ...

    async def incomplete(self) -> Sequence[str]:
        """Wait until strict limits wait for others to hand in; the journals of these."""
        ...

    def distrust(self, why: str) -> None:
        """The counts lack something: have them built anew."""
        ...

    @property
    def standing(self) -> Standing:
        """How the counts stand."""
        ...


class Reservation(Protocol):
    """What an admitted request holds of its limits, until it is settled or void."""

    @property
    def exchange_id(self) -> str: ...

    @property
    def exceeded(self) -> tuple[Limit, ...]:
        """The limits that only warn, and that this request exceeds."""
        ...

    @property
    def tightest(self) -> LimitState | None:
        """The state of the caller's limit with the smallest share left.

        Only limits of the caller's team and key are looked at. None: they have none.
        """
        ...


class Quota(Protocol):
    """What the gateway, the exchange, the recorder and the admin plane need of a store.

    `now_ms` is the time of day, from a clock that does not run back. The methods that end a
    reservation do not wait: a store outside of this process queues them.
    """

    @property
    def failures(self) -> int:
        """How many requests it gave no answer for, so far."""
        ...

    @property
    def shared(self) -> SharedCounts | None:
        """How its counts are kept whole; None: they end with this process, and cannot be lost."""
        ...

    @property
    def silent(self) -> SilentHolds:
        """What silent processes hold, as it was seen last."""
        ...

    async def reserve(
        self, limits: Sequence[Limit], ask: Demand, now_ms: int
    ) -> Reservation | Refused:
        """Take what the request is expected to use of every limit, in one step.

        If one limit refuses, nothing is taken of any. Raises QuotaUnavailable.
        """
        ...

    async def refusal(self, limits: Sequence[Limit], ask: Demand, now_ms: int) -> Refused | None:
        """The refusal that `reserve` would give right now. Nothing is taken.

        Raises QuotaUnavailable.
        """
        ...

    async def extend(
        self, reservation: Reservation, output_tokens: int, charge_nano: int | None, now_ms: int
    ) -> LimitState | None:
        """Grow what a stream holds: `output_tokens` and `charge_nano` are now expected in all.

        Returns None when every limit agrees. Otherwise it returns the state of the limit that
        refuses (`cut`, `strict`), and nothing more is taken of any. The caller then ends the
        stream, or extends it by no more than what is `remaining`.
        """
        ...

    def settle(self, reservation: Reservation, used: Used, now_ms: int) -> None:
        """End the reservation with what the record says was used. The rest is free again."""
        ...

    def void(self, reservation: Reservation, now_ms: int) -> None:
        """End the reservation of a request that was not sent, as if it had never been made."""
        ...

    def release_slots(self, reservation: Reservation) -> None:
        """Free the places among the concurrent requests as soon as the client has left.

        The rest of the reservation goes on: the answer may still be read.
        """
        ...

    def grant(self, credit: Credit, now_ms: int) -> None:
        """Count a credit from now on. Idempotent by id."""
        ...

    def adjust(self, limits: Sequence[Limit], started_at_ms: int, used: Used, now_ms: int) -> None:
        """Count a correction of the book: `used` has the differences.

        They count in those windows of the record's start that are still open, and not in rates.
        """
        ...

    async def restore(
        self, past: Iterable[Past], credits: Iterable[Credit], *, since_ms: int, now_ms: int
    ) -> bool:
        """Build the counts that this store does not have yet, and leave the others alone.

        It is called at the start, and for new limits before a reload takes effect. From `since_ms`
        on, `past` has every single record: rates are rebuilt from them (see `Rules.lookback_ms`).
        Whether they stand there now. A shared store that has lost all counts, or is away, has them
        some time after it is back, and may let too much pass until then.
        """
        ...

    def forget(self, limits: Iterable[Limit], *, everywhere: bool = False) -> None:
        """Count these limits no more in this process; running requests end under them.

        A store of this process alone drops their counts, and builds them anew from the book if
        such a limit comes back. A shared store keeps them to the end of their windows, as other
        processes may still have the limit; `everywhere`: it drops them too.
        """
        ...

    async def states(self, limits: Iterable[Limit], now_ms: int) -> list[LimitState]:
        """The states of these limits."""
        ...

    def limits(self) -> tuple[Limit, ...]:
        """Every limit that has a count here."""
        ...

    async def left(self) -> list[str]:
        """The requests for which an earlier life of this process still holds something.

        It is asked at the start, before anything is reserved. Raises QuotaUnavailable.
        """
        ...

    def settle_left(self, exchange_id: str, used: Used | None) -> None:
        """End such a request; `used` None: it was never sent."""
        ...

    async def aclose(self) -> None:
        """Leave the store."""
        ...

    async def flush(self) -> None:
        """Wait until what was queued so far has been counted."""
        ...

    def warnings(self, now_ms: int) -> list[Crossing | Breach]:
        """What has come up to warn of since the last call."""
        ...


_NAMES = {"valkeys": "valkey", "redis": "valkey", "rediss": "valkey"}


def module_of(url: str, opener: str) -> ModuleType | None:
    """The package of the store that the URL's scheme names, if it has this function.

    Raises QuotaError where a library that it needs is missing.
    """
    scheme = url.partition(":")[0]
    try:
        return backend(__name__, f"{_NAMES.get(scheme, scheme)}:", opener)
    except ModuleNotFoundError as error:
        raise QuotaError(
            f"quota.url: {scheme}: needs the package {error.name}; pip install 'tollkeeper[valkey]'"
        ) from error


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def connect(
    url: str,
    zone: tzinfo,
    *,
    monotonic_ms: Callable[[], int] = _monotonic_ms,
    values_max: int = VALUES_MAX,
    options: SharedOptions | None = None,
) -> Quota:
    """Open the store. Raises QuotaError with the reason.

    Days, weeks and months are those of `zone`. Rates flow by `monotonic_ms`, a clock that is never
    set. So many values of one limit have counts of their own.
    """
    module = module_of(url, "connect")
    if module is None:
        # Never the whole URL, which may hold a password.
        raise QuotaError(
            f"quota.url: there is no kind of store {url.partition(':')[0][:20]!r}; use memory: or"
            " valkey:"
        )
    quota: Quota = await module.connect(
        url,
        zone,
        monotonic_ms=monotonic_ms,
        values_max=values_max,
        options=options or SharedOptions(),
    )
    return quota

"""Processes' parts of the store beside journals and a book that lags: what the server does all the time.

Each part keeps a journal of what ended. A book has each journal up to some place, and a part that
builds counts reads it in one state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any
from zoneinfo import ZoneInfo

from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import Refused
from proxy.quota import (
    Book,
    Ended,
    Past,
    Quota,
    QuotaUnavailable,
    Reservation,
    SharedOptions,
    connect,
)
from proxy.quota.valkey.store import SharedQuota
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer
from tests.support.waiting import guard

NOW_MS = 1_900_000_000_000
DAY = limit("1_000 tokens/day", "strict")
SOFT = limit("1_000 tokens/day", "finish", "team:red")
SLOTS = limit("5 concurrent", "finish")
ALL = (DAY, SOFT, SLOTS)


class Books:
    """What all journals hold, and what the book has of it.

    `at_once`: it books each end in the same step. `before_read` is awaited before it is read.
    """

    def __init__(self) -> None:
        self.journals: dict[str, list[Ended]] = {}
        self.booked: dict[str, int] = {}
        self.left: set[str] = set()
        self.at_once = True
        self.reads = 0
        self.begun: list[Instance] = []

    def book(self, name: str, upto: int | None = None) -> None:
        """Book a journal up to a place; None: all of it."""
        self.booked[name] = len(self.journals[name]) if upto is None else upto

    async def before_read(self) -> None:
        """Nothing, unless a test has it."""

    async def read(self) -> Book:
        await self.before_read()
        self.reads += 1
        past = [
            one.past for name, some in self.journals.items() for one in some[: self.booked[name]]
        ]
        return Book(
            past=past,
            credits=(),
            since_ms=NOW_MS,
            now_ms=NOW_MS,
            positions=dict(self.booked),
            live=[name for name in self.journals if name not in self.left],
        )


class Instance:
    """One process' part of the store, with its journal."""

    def __init__(self, name: str, books: Books) -> None:
        self.name = name
        self.books = books
        self.journal = books.journals.setdefault(name, [])
        books.booked.setdefault(name, 0)
        self.quota: SharedQuota
        self.count = 0
        self.recovered = True  # what an earlier life left open has its records
        self.tasks: list[asyncio.Task[None]] = []

    async def connect(self, server: int | str, **options: Any) -> None:
        """Begin; `silent` has it hand in nothing that has ended."""
        silent = options.pop("silent", False)
        given: dict[str, Any] = {"timeout_s": 30.0, **options}
        shared = SharedOptions(instance=self.name, position=self.position, **given)
        url = server if isinstance(server, str) else f"valkey://127.0.0.1:{server}"
        quota: Quota = await connect(url, ZoneInfo("UTC"), options=shared)
        assert isinstance(quota, SharedQuota)
        self.quota = quota
        self.books.begun.append(self)
        await quota.rebuild(self.books.read)
        self.tasks.append(asyncio.create_task(self.keep()))
        if not silent:
            self.tasks.append(asyncio.create_task(self.hand_in()))

    def position(self) -> int | None:
        return len(self.journal) if self.recovered else None

    async def keep(self) -> None:
        while True:
            await self.quota.lost()
            if not await self.quota.rebuild(self.books.read):
                await asyncio.sleep(0.01)

    async def hand_in(self) -> None:
        while True:
            owed = await self.quota.owed()
            await asyncio.sleep(0)
            await self.quota.hand_in(owed, self.journal[owed.after : owed.upto], NOW_MS)

    async def restore_some(self) -> None:
        """What a reload does for limits that have no count."""
        past = (await self.books.read()).past
        await self.quota.restore(past, (), since_ms=NOW_MS, now_ms=NOW_MS)

    async def die(self) -> None:
        """Nothing of it goes on, and nothing is said."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.quota._epochs.aclose()
        await self.quota._link.aclose()
        self.books.begun.remove(self)

    async def aclose(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.quota.aclose()

    async def ask(self, tokens: int, limits: Iterable[Limit] = ALL) -> Reservation | Refused:
        self.count += 1
        ask = Demand(
            exchange_id=f"{id(self)}-{self.count}",
            started_at_ms=NOW_MS,
            output_tokens=tokens,
            input_bound=0,
            output_bound=tokens,
        )
        return await self.quota.reserve([*limits], ask, NOW_MS)

    async def held(self, tokens: int, limits: Iterable[Limit] = ALL) -> Reservation:
        answer = await self.ask(tokens, limits)
        assert not isinstance(answer, Refused), answer
        return answer

    def end(self, held: Reservation, tokens: int, limits: Iterable[Limit] = ALL) -> None:
        """The record is in the journal in the same step as its settle."""
        used = Used(output_tokens=tokens)
        self.journal.append(Ended(held.exchange_id, Past(tuple(limits), NOW_MS, used)))
        if self.books.at_once:
            self.books.book(self.name)
        self.quota.settle(held, used, NOW_MS)

    async def figures(self, one: Limit = DAY) -> tuple[int, int]:
        (state,) = await self.quota.states([one], NOW_MS)
        return state.used, state.held


@contextlib.asynccontextmanager
async def instances(
    server: int | str, count: int = 1, *, books: Books | None = None, **options: Any
) -> AsyncIterator[list[Instance]]:
    """So many processes, i0 and so on, with whole counts; all that share `books` end with them."""
    books = books or Books()
    found = [Instance(f"i{number}", books) for number in range(count)]
    async with guard():
        try:
            for one in found:
                await one.connect(server, **options)
            for one in found:
                await one.quota.whole()
            yield found
        finally:
            for one in books.begun:
                await one.aclose()


async def lose(server: ValkeyServer, *ones: Instance) -> None:
    """Empty the server; these find out at once, others within a second."""
    server.ask("FLUSHALL")
    for one in ones:
        with contextlib.suppress(QuotaUnavailable):
            await one.figures()


def usable(instance: Instance) -> bool:
    return instance.quota._joining.is_whole and instance.quota._link.peer is not None

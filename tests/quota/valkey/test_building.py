"""One of several builds the counts, from a book that is read once the lock is held."""

from __future__ import annotations

import asyncio

import pytest

from proxy.quota.valkey import building
from tests.quota.valkey.booked import Books, instances, lose, usable
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until


async def test_one_reads_the_book_and_the_others_wait(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    books = Books()
    async with instances(valkey.port, 4, books=books) as all_of_them:
        for one in all_of_them:
            one.end(await one.held(30), 20)
        reads = books.reads
        await lose(valkey, *all_of_them)
        await until(
            lambda: all(one.quota.standing.epochs == 2 and usable(one) for one in all_of_them)
        )
        assert books.reads == reads + 1
        assert sum(one.quota._epochs.built for one in all_of_them) == 2, "at the start, and now"
        assert await all_of_them[3].figures() == (80, 0)


async def test_a_book_that_takes_long_to_read_keeps_the_lock(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another would build beside it."""
    monkeypatch.setattr(building, "LOCK_MS", 150)
    valkey.ask("FLUSHALL")
    books = Books()
    async with instances(valkey.port, 2, books=books) as ones:
        ends = asyncio.Event()

        async def slowly() -> None:
            await ends.wait()

        books.before_read = slowly  # type: ignore[method-assign]
        reads = books.reads
        await lose(valkey, *ones)
        await until(lambda: b"lock" in valkey.ask("KEYS", "*lock"))
        for _ in range(30):
            assert b"lock" in valkey.ask("KEYS", "*lock")
            await asyncio.sleep(0.01)
        ends.set()
        await until(lambda: all(usable(one) for one in ones))
        assert books.reads == reads + 1


async def test_a_builder_that_lost_its_lock_publishes_nothing(valkey: ValkeyServer) -> None:
    """Another builds under another epoch by then."""
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        one.end(await one.held(30), 20)

        async def robbed() -> None:
            del one.books.before_read  # type: ignore[attr-defined]
            base = one.quota._epochs._builder._calls.ask

            async def late(operation: bytes, args: object) -> list[object]:
                valkey.ask("SET", "{tk}:1:next", "another|x")
                one.quota._epochs._builder._calls.ask = base  # type: ignore[method-assign]
                return await base(operation, args)

            one.quota._epochs._builder._calls.ask = late  # type: ignore[method-assign, assignment]

        one.books.before_read = robbed  # type: ignore[method-assign]
        await lose(valkey, one)
        await until(lambda: usable(one))
        assert one.books.reads == 3, "it began anew"
        assert await one.figures() == (20, 0)

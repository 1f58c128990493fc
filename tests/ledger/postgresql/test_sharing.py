"""Processes that share a ledger hear of each other, and of what others have written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC

import msgspec
import pytest

from proxy.core.limits.credit import Credit
from proxy.core.managed import Managed, State, TenantChange, TenantKind
from proxy.ledger import LedgerUnavailable
from proxy.ledger.postgresql import _ORDERS
from proxy.ledger.postgresql.connection import Connection
from proxy.ledger.postgresql.credits import add, begin_chain
from proxy.ledger.postgresql.sharing import PostgresSharing
from proxy.ledger.postgresql.tenants import change
from proxy.ledger.sharing import HeardOf, Instance, InstanceState, NameTaken
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import KEY, START_MS, make_record
from tests.support.postgres import postgres

pytestmark = pytest.mark.whole  # a server of its own

SILENT = "UPDATE instances SET seen_at = seen_at - interval '1 minute' WHERE name = '{}'"


@contextlib.asynccontextmanager
async def sharing(book: Books) -> AsyncIterator[PostgresSharing]:
    one = PostgresSharing(book.url)
    try:
        yield one
    finally:
        await one.aclose()


def states(found: list[Instance]) -> dict[str, str]:
    return {one.name: one.state.value for one in found}


def suspended(name: str) -> TenantChange:
    return TenantChange((Managed(kind=TenantKind.KEY, name=name, state=State.SUSPENDED),), ())


def credit(id: str) -> Credit:
    return Credit(
        id=id,
        granted_at_ms=1,
        limit_id="key:alice/requests/day",
        unit="requests",
        amount=5,
        reason="more",
        granted_by="ops",
    )


def put(book: Books, what: TenantChange) -> None:
    book.line.transaction(lambda one: change(one, KEY, what), begin=_ORDERS)


def give(book: Books, id: str) -> None:
    def work(one: Connection) -> None:
        begin_chain(one, KEY, 1)
        add(one, credit(id), KEY, 1)

    book.line.transaction(work, begin=_ORDERS)


async def test_one_state_of_the_book_has_each_journal_as_far_as_its_records() -> None:
    """What is booked while it is read is in neither."""
    with books() as book:
        async with sharing(book) as first, sharing(book) as second:
            book.book(make_record(0), make_record(1), writer="a")
            book.book(make_record(2), writer="gone")
            await first.arrive("a", "here")
            await second.arrive("fresh", "there")
            with first.one_state() as state:
                book.book(make_record(3), make_record(4), writer="a")
                await second.leave()
                assert [msgspec.structs.astuple(writer) for writer in state.writers] == [
                    ("a", 2, True),
                    ("fresh", 0, True),
                    ("gone", 1, False),
                ]
                [row] = state.reader.usage(["team"], None, None, UTC)
                assert row["requests"] == 3
                assert len(state.reader.recent(0, START_MS + 1)) == 3
            with first.one_state() as state:
                assert [writer.may_have_more for writer in state.writers] == [True, False, False]
                [row] = state.reader.usage(["team"], None, None, UTC)
                assert row["requests"] == 5


async def test_states_follow_a_process_through_its_life() -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first, sharing(book) as second:
            await first.arrive("a", "here")
            await second.arrive("b", "there")
            assert states(await first.instances()) == {"a": "live", "b": "live"}
            await second.leave()
            assert states(await first.instances()) == {"a": "live", "b": "left"}
            book.do(SILENT.format("a"))
            assert states(await second.instances()) == {"a": "lapsed", "b": "left"}
            await first.look()
            assert states(await second.instances()) == {"a": "live", "b": "left"}


async def test_others_see_how_far_a_process_has_booked() -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first, sharing(book) as second:
            await first.arrive("a", "here")
            assert [one.clear_ms for one in await second.instances()] == [None]
            await first.look(7_000)
            assert [one.clear_ms for one in await second.instances()] == [7_000]
            await first.arrive("a", "here")
            assert [one.clear_ms for one in await second.instances()] == [None]


async def test_a_name_is_one_living_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first, sharing(book) as second:
            await first.arrive("a", "here")
            monkeypatch.setattr("proxy.ledger.postgresql.sharing.LAPSE_S", 1e9)
            monkeypatch.setattr("proxy.ledger.postgresql.sharing.time", _Late())
            with pytest.raises(NameTaken, match="on another data directory"):
                await second.arrive("a", "there")
            # A process that was killed is followed by another on its own data directory.
            await second.arrive("a", "here")
            with pytest.raises(NameTaken, match="has taken the name 'a'"):
                await first.look()


class _Late:
    """Each look at the clock is an age after the one before."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        self.at_s += 1e10
        return self.at_s


async def test_a_name_whose_process_is_silent_is_free_for_another_directory() -> None:
    """A pod whose volume was lost: nobody waits for a process that is long gone."""
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first:
            await first.arrive("a", "here")
            book.do("UPDATE instances SET seen_at = seen_at - interval '1 hour'")
            async with sharing(book) as second:
                await second.arrive("a", "there")
                with pytest.raises(NameTaken):
                    first._beat_s = 0.0
                    await first.look()


async def test_only_what_is_silent_is_forgotten() -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first:
            await first.arrive("a", "here")
            alive = await first.forget("a")
            assert alive is not None and alive.state is InstanceState.LIVE
            assert await first.forget("b") is None
            book.do(SILENT.format("a"))
            silent = await first.forget("a")
            assert silent is not None and silent.state is InstanceState.LAPSED
            assert await first.instances() == []


async def test_the_place_of_a_silent_process_is_taken_and_it_must_not_go_on() -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first, sharing(book) as other, sharing(book) as third:
            await first.arrive("a", "here")
            assert not await other.take_over("a"), "it lives"
            assert not await other.take_over("a", "there"), "it runs elsewhere"
            await first.look()
            assert await other.take_over("unheard-of")
            book.do(SILENT.format("a"))
            assert await other.take_over("a")
            assert states(await other.instances()) == {"a": "lapsed"}, "it is not booked yet"
            await third.settled("a")
            assert states(await other.instances()) == {"a": "lapsed"}, "another one books it"
            await other.settled("a")
            assert states(await other.instances()) == {"a": "left"}
            with pytest.raises(NameTaken, match="has taken the name 'a'"):
                await first.leave()


async def test_a_lock_on_its_directory_says_that_it_is_dead() -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first, sharing(book) as other:
            await first.arrive("a", "here")
            assert await other.take_over("a", "here")
            await other.settled("a")
            assert states(await other.instances()) == {"a": "left"}


async def test_one_that_has_come_back_meanwhile_stays_as_it_is() -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as first, sharing(book) as again, sharing(book) as other:
            await first.arrive("a", "here")
            book.do(SILENT.format("a"))
            assert await other.take_over("a")
            await again.arrive("a", "here")
            await other.settled("a")
            assert states(await other.instances()) == {"a": "live"}
            await again.look()


async def test_news_is_what_others_wrote_since() -> None:
    with books() as book:
        put(book, suspended("alice"))
        give(book, "c1")
        async with sharing(book) as one:
            await one.arrive("a", "here")
            assert await one.look() == HeardOf(1, 1)
            news = await one.news(HeardOf())
            assert [row.name for row in news.tenants] == ["alice"]
            assert news.credits == [credit("c1")]
            put(book, suspended("bob"))
            give(book, "c2")
            news = await one.news(news.known)
            assert [row.name for row in news.tenants] == ["bob"]
            assert news.credits == [credit("c2")]
            assert (await one.news(news.known)).tenants == []


async def test_a_look_ends_when_something_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.ledger.postgresql.sharing.LOOK_S", 3600.0)
    monkeypatch.setattr("proxy.ledger.postgresql.sharing.ANSWER_MAX_S", 3600.0)
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as one:
            await one.arrive("a", "here")
            looking = asyncio.create_task(one.look())
            await asyncio.to_thread(put, book, suspended("alice"))
            assert await looking == HeardOf(1, 0)


async def test_a_connection_that_was_cut_is_made_again() -> None:
    with books() as book:
        book.rows("SELECT 1")
        async with sharing(book) as one:
            await one.arrive("a", "here")
            postgres().sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%instances%'"
                " AND pid <> pg_backend_pid()"
            )
            with contextlib.suppress(LedgerUnavailable):
                await one.look()
            put(book, suspended("alice"))
            assert await one.look() == HeardOf(1, 0)


async def test_a_look_finds_what_no_word_came_of() -> None:
    with books() as book:
        put(book, suspended("alice"))
        async with sharing(book) as one:
            await one.arrive("a", "here")
            assert await one.look() == HeardOf(1, 0)
            book.do("UPDATE tenants SET version = 2")
            assert await one.look() == HeardOf(2, 0)

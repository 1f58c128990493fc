"""Journals of dead processes are booked by one that lives, but not those of the living."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.journal import Journal
from proxy.ledger.postgresql.sharing import PostgresSharing
from proxy.server.adopting import home_of
from tests.accounting.test_recorder import opening
from tests.ledger.postgresql.books import books
from tests.ledger.samples import make_id
from tests.support.journals import journal_options
from tests.support.running import config, running
from tests.support.waiting import guard


def left_open(root: Path, name: str, number: int) -> None:
    """A journal with a request that has no end; nobody holds it."""

    async def leave() -> None:
        journal = Journal.claim(root, journal_options(), name=name)
        journal.open(opening(number))
        await journal.aclose()

    asyncio.run(leave())


def test_the_name_under_which_a_process_holds_something_is_beside_its_journal(
    tmp_path: Path,
) -> None:
    assert home_of(tmp_path, "a") is None
    (tmp_path / "quota-a.id").write_text("0123\n")
    assert home_of(tmp_path, "a") == "0123"
    (tmp_path / "quota-a.id").write_text("")
    assert home_of(tmp_path, "a") is None


@pytest.mark.whole  # a server of its own
@pytest.mark.parametrize("adopt", [False, True])
def test_what_was_heard_of_lately_is_left_alone_until_it_is_silent(
    tmp_path: Path, adopt: bool
) -> None:
    """A process that was killed a moment ago may come back; its lock says nothing of others' hosts."""
    root = tmp_path / "var" / "journal"
    for name, number in (("dead", 1), ("unheard-of", 2), ("kept-alive", 3)):
        left_open(root, name, number)

    async def story() -> None:
        with books() as book:
            book.rows("SELECT 1")
            dead, alive = PostgresSharing(book.url), PostgresSharing(book.url)
            await dead.arrive("dead", "x")
            await alive.arrive("kept-alive", "y")
            more = {"ledger": {"url": book.url}, "journal": {"adopt": adopt}, "instance": "me"}
            async with guard(), running(tmp_path, config("http://127.0.0.1:9/v1", **more)):

                async def until_booked(*numbers: int) -> None:
                    expected = [(make_id(number),) for number in numbers]
                    while book.rows("SELECT id FROM records ORDER BY id") != expected:
                        await alive.look()

                await until_booked(2)
                book.do("UPDATE instances SET seen_at = now() - interval '9 s' WHERE name = 'dead'")
                await until_booked(1, 2)
                states = {one.name: one.state.value for one in await alive.instances()}
                while states["dead"] != "left":
                    await alive.look()
                    states = {one.name: one.state.value for one in await alive.instances()}
                assert states == {"me": "live", "dead": "left", "kept-alive": "live"}
                assert book.rows("SELECT count(*) FROM records") == [(2,)]
            await dead.aclose()
            await alive.aclose()

    asyncio.run(story())

"""What processes hand in to counts that were built anew: each thing once, and strict waits for all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.core.limits.decisions import Used
from proxy.core.limits.state import Refused
from proxy.quota import Ended, Past, QuotaUnavailable
from tests.quota.valkey.booked import (
    ALL,
    DAY,
    NOW_MS,
    SLOTS,
    SOFT,
    Books,
    Instance,
    instances,
    lose,
    usable,
)
from tests.quota.valkey.relay import relay
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import guard, until


async def seen_by(*ones: Instance, built: int) -> None:
    """Wait until so many epochs were entered by all, and are whole."""
    await until(lambda: all(one.quota.standing.epochs == built and usable(one) for one in ones))
    for one in ones:
        await one.quota.flush()


async def test_what_nobody_had_booked_is_handed_in_by_whose_journal_has_it(
    valkey: ValkeyServer,
) -> None:
    """The one that builds has only the book; the answer to each end had come before the loss."""
    valkey.ask("FLUSHALL")
    books = Books()
    books.at_once = False
    async with instances(valkey.port, 3, books=books) as all_of_them:
        for number, one in enumerate(all_of_them):
            for _ in range(3):
                one.end(await one.held(30), 10 + number)
            books.book(one.name, upto=number)
            await one.quota.flush()
        assert await all_of_them[0].figures() == (99, 0)
        await lose(valkey, *all_of_them)
        await seen_by(*all_of_them, built=2)
        assert await all_of_them[1].figures() == (99, 0)
        assert await all_of_them[2].figures(SOFT) == (99, 0)
        assert isinstance(await all_of_them[1].ask(902), Refused)
        await all_of_them[1].held(901)


async def test_an_end_on_its_way_at_the_loss_is_not_counted_beside_its_record(
    valkey: ValkeyServer,
) -> None:
    """It was booked before the other one built, and its settle had no answer."""
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, guard():
        books = Books()
        async with instances(valkey.port, books=books) as [builds]:
            late = Instance("late", books)
            await late.connect(way.port)
            await late.quota.whole()
            booked, passed = await late.held(50), await late.held(30, (SOFT,))
            way.hold()
            late.end(booked, 20)
            late.end(passed, 7, (SOFT,))
            valkey.ask("FLUSHALL")
            await until(lambda: builds.quota._epochs.built == 2)
            way.release()
            await seen_by(builds, late, built=2)
            assert await builds.figures() == (20, 0)
            assert await builds.figures(SOFT) == (27, 0)


async def test_strict_waits_for_a_silent_one_and_others_go_on(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    books = Books()
    async with instances(valkey.port, books=books) as [one]:
        silent = Instance("silent", books)
        await silent.connect(valkey.port, silent=True)
        await silent.quota.whole()
        books.at_once = False
        silent.end(await silent.held(400), 300)
        await silent.quota.flush()
        await lose(valkey, one)
        await until(lambda: one.quota.standing.waiting == ("silent",))
        assert one.quota.standing.partial_s > 0
        assert await one.quota.incomplete() == ("silent",)
        for _ in range(3):
            with pytest.raises(QuotaUnavailable, match="being restored"):
                await one.ask(1)
        with pytest.raises(QuotaUnavailable):
            await one.quota.refusal(ALL, (await one.held(1, (SOFT,))).ask, NOW_MS)  # type: ignore[attr-defined]
        await one.held(1, (SOFT,))
        silent.tasks.append(asyncio.create_task(silent.hand_in()))  # it wakes up
        await until(lambda: usable(one) and usable(silent))
        assert one.quota.standing.waiting == () and one.quota.standing.partial_s == 0
        assert await one.figures() == (300, 0)
        assert isinstance(await one.ask(701), Refused)
        await one.held(700)


async def test_one_that_ended_in_order_is_not_waited_for_once_all_is_built_anew(
    valkey: ValkeyServer,
) -> None:
    """The server has it built without that one, whose journal is booked."""
    valkey.ask("FLUSHALL")
    books = Books()
    async with instances(valkey.port, books=books) as [one]:
        gone = Instance("gone", books)
        await gone.connect(valkey.port, silent=True)
        await gone.quota.whole()
        books.at_once = False
        gone.end(await gone.held(400), 300)
        await gone.die()
        await lose(valkey, one)
        await until(lambda: one.quota.standing.waiting == ("gone",))
        books.book("gone")
        books.left.add("gone")
        one.quota.distrust("gone has left, and is in the book")
        await seen_by(one, built=3)
        assert await one.figures() == (300, 0)


async def test_a_start_hands_in_what_an_earlier_life_had_not_booked(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    books = Books()
    books.at_once = False
    async with instances(valkey.port, books=books) as [one]:
        killed = Instance("killed", books)
        await killed.connect(valkey.port)
        await killed.quota.whole()
        killed.end(await killed.held(60), 40)
        await killed.held(100)  # never sent
        await killed.quota.flush()
        await killed.die()
        await lose(valkey, one)
        await until(lambda: one.quota.standing.waiting == ("killed",))
        again = Instance("killed", books)
        await again.connect(valkey.port)
        await until(lambda: usable(one) and usable(again))
        assert await one.figures() == (40, 0)
        assert await again.quota.left() == []
        # Its next life has nothing to hand in, since this one has.
        await again.die()
        third = Instance("killed", books)
        await third.connect(valkey.port)
        await until(lambda: usable(third))
        await third.quota.flush()
        assert await one.figures() == (40, 0)
        assert one.quota.standing.epochs == 2


async def test_a_life_that_ended_while_it_handed_in_has_all_built_anew(
    valkey: ValkeyServer,
) -> None:
    """Nobody knows what of it was settled since, and must not come in again."""
    valkey.ask("FLUSHALL")
    books = Books()
    books.at_once = False
    async with instances(valkey.port, books=books) as [one]:
        torn = Instance("torn", books)
        await torn.connect(valkey.port, silent=True)
        await torn.quota.whole()
        torn.end(await torn.held(60), 40)
        running = await torn.held(50)
        await torn.quota.flush()
        await lose(valkey, one)
        await until(lambda: torn.quota._calls.epoch is not None and torn.quota.standing.epochs == 2)
        torn.end(running, 30)
        await torn.quota.flush()
        await torn.die()
        again = Instance("torn", books)
        await again.connect(valkey.port)
        await until(lambda: usable(one) and usable(again))
        assert await one.figures() == (70, 0)
        assert one.quota.standing.epochs == 3


async def test_a_hand_in_whose_answer_is_lost_counts_once(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    books = Books()
    books.at_once = False
    async with relay(valkey.port) as way, instances(way.port, books=books) as [one]:
        for _ in range(450):
            one.end(await one.held(1), 1)
        running = [await one.held(1, (DAY,)) for _ in range(50)]
        await one.quota.flush()
        read = len(way.writes)
        valkey.ask("FLUSHALL")
        await until(lambda: any(b"$5\r\nended" in written for written in way.writes[read:]))
        way.hold()
        for _ in range(3):
            before = one.quota._link.connections
            way.cut()
            way.release()
            await until(lambda: one.quota._link.connections > before)  # noqa: B023
        await until(lambda: usable(one))
        await one.quota.flush()
        assert await one.figures() == (450, 50)
        for held in running:
            one.end(held, 1, (DAY,))
        assert await one.figures() == (500, 0)
        assert await one.figures(SLOTS) == (0, 0)


async def test_what_was_let_through_by_counts_that_were_lost_meanwhile_is_refused(
    valkey: ValkeyServer,
) -> None:
    """Its answer lay in the queue while the counts were built anew without it."""
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        quota = one.quota

        async def answered_late(operation: bytes, args: object) -> list[object]:
            found: list[object] = await ask(operation, args)
            if operation == b"reserve":
                valkey.ask("FLUSHALL")
                await until(lambda: quota._epochs.built == 2 and usable(one))
            return found

        ask, quota._calls.ask = quota._calls.ask, answered_late  # type: ignore[method-assign, assignment]
        with pytest.raises(QuotaUnavailable):
            await one.ask(600)
        quota._calls.ask = ask  # type: ignore[method-assign]
        assert await one.figures() == (0, 0)
        await one.held(1000)


async def test_a_reserve_that_was_called_off_holds_nothing_of_the_new_counts(
    valkey: ValkeyServer,
) -> None:
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, instances(way.port, timeout_s=0.05) as [one]:
        way.hold()
        with pytest.raises(QuotaUnavailable):
            await one.ask(600)
        valkey.ask("FLUSHALL")
        way.release()
        await seen_by(one, built=2)
        assert await one.figures() == (0, 0)


async def test_a_correction_on_its_way_has_the_counts_built_once_more(
    valkey: ValkeyServer,
) -> None:
    """No journal has it: the book does."""
    valkey.ask("FLUSHALL")
    books = Books()
    async with relay(valkey.port) as way, instances(way.port, books=books) as [one]:
        one.end(await one.held(30), 20)
        await one.quota.flush()
        way.hold()
        one.quota.adjust([DAY], NOW_MS, Used(requests=0, output_tokens=5), NOW_MS)
        valkey.ask("FLUSHALL")
        way.release()
        await until(lambda: one.quota._epochs.built == 2)
        assert not one.quota._joining.is_whole  # strict limits wait
        one.journal.append(Ended("rated", Past((DAY,), NOW_MS, Used(output_tokens=5))))
        books.book(one.name)
        await seen_by(one, built=3)
        assert await one.figures() == (25, 0)


async def test_new_limits_do_not_become_all_that_is_counted(tmp_path: Path) -> None:
    """Limits of a new key are restored while the counts are lost: that builds no epoch of them."""
    with valkey_server(tmp_path) as server:
        async with instances(server.port) as [one]:
            one.end(await one.held(30), 20)
            await one.quota.flush()
            one.tasks[0].cancel()  # nobody builds
            server.ask("FLUSHALL")
            await until(one.quota._epochs.lost.is_set)
            new = limit("9 requests/day", whose="key:new")
            past = [Past((new,), NOW_MS, Used())]
            await one.quota.restore(past, (), since_ms=NOW_MS, now_ms=NOW_MS)
            assert b"epoch" not in server.ask("KEYS", "*epoch")
            one.tasks.append(asyncio.create_task(one.keep()))
            await until(lambda: usable(one))
            assert await one.figures() == (20, 0)


async def test_rates_and_values_are_handed_in(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    books = Books()
    books.at_once = False
    hour = limit("900 tokens/hour", "strict")
    old = limit("900 tokens/hour", "strict", whose="key:old")
    users = [limit("90 tokens/day per end_user").of_value(f"u{n}") for n in range(3)]
    async with instances(valkey.port, books=books) as [one]:
        for n in range(3):
            one.end(await one.held(30, (hour, users[n])), 20, (hour, users[n]))
        gone = Past((old,), NOW_MS - 3_600_000, Used(output_tokens=800))
        one.journal.append(Ended("gone", gone))
        await lose(valkey, one)
        await seen_by(one, built=2)
        assert (await one.figures(hour))[0] in (59, 60)
        assert (await one.figures(old))[0] == 0, "it would have leaked away"
        for user in users:
            assert await one.figures(user) == (20, 0)


@pytest.mark.parametrize("other", [False, True], ids=["same epoch", "an earlier epoch"])
async def test_a_server_that_is_set_back_in_place_is_found_by_the_next_call(
    tmp_path: Path, other: bool
) -> None:
    """Neither its run nor a connection tells. Nothing is let through by what it has then."""
    with valkey_server(tmp_path) as server:
        async with instances(server.port, 2) as ones:
            one, two = ones
            one.end(await one.held(30), 20)
            two.end(await two.held(30), 20)
            await asyncio.gather(*(each.quota.flush() for each in ones))
            server.ask("SAVE")
            if other:
                one.quota.distrust("of a test")
                await seen_by(*ones, built=2)
            await asyncio.sleep(0.002)  # the server's clock goes on
            held = await two.held(930, (DAY,))
            two.end(held, 900, (DAY,))
            await two.quota.flush()
            assert b"OK" in server.ask("DEBUG", "RELOAD", "NOSAVE")
            for _ in range(3):
                with pytest.raises(QuotaUnavailable):
                    await two.ask(930, (DAY,))
            await seen_by(*ones, built=3 if other else 2)
            for each in ones:
                assert isinstance(await each.ask(930, (DAY,)), Refused)
                assert await each.figures() == (940, 0)


async def test_counts_that_are_distrusted_do_not_come_back_with_an_earlier_state(
    tmp_path: Path,
) -> None:
    """The server is set back to before it was told so."""
    with valkey_server(tmp_path) as server:
        async with instances(server.port) as [one]:
            one.end(await one.held(30), 20)
            await one.quota.flush()
            server.ask("SAVE")
            one.tasks[0].cancel()  # nobody builds
            one.quota.distrust("of a test")
            await until(one.quota._epochs.lost.is_set)
            assert b"OK" in server.ask("DEBUG", "RELOAD", "NOSAVE")
            one.quota._epochs.stale()
            await asyncio.sleep(0.05)
            assert one.quota._calls.epoch is None
            one.tasks.append(asyncio.create_task(one.keep()))
            await seen_by(one, built=2)
            assert await one.figures() == (20, 0)


async def test_a_process_joins_once_its_journal_tells_what_an_earlier_life_left_open(
    valkey: ValkeyServer,
) -> None:
    """Until then nobody can tell what it used before."""
    valkey.ask("FLUSHALL")
    books = Books()
    books.at_once = False
    async with instances(valkey.port, books=books) as [one]:
        killed = Instance("killed", books)
        await killed.connect(valkey.port)
        await killed.quota.whole()
        left_open = await killed.held(60)
        await killed.die()
        await lose(valkey, one)
        again = Instance("killed", books)
        again.recovered = False
        await again.connect(valkey.port)
        await until(lambda: one.quota.standing.waiting == ("killed",))
        with pytest.raises(QuotaUnavailable):
            await again.ask(1)
        again.journal.append(
            Ended(left_open.exchange_id, Past(ALL, NOW_MS, Used(output_tokens=60)))
        )
        again.recovered = True
        await until(lambda: usable(one) and usable(again))
        assert await one.figures() == (60, 0)


@pytest.mark.parametrize("stamped", [True, False], ids=["by its time", "by what is waited for"])
async def test_a_server_set_back_to_before_all_had_handed_in_keeps_nobody_waiting(
    tmp_path: Path, stamped: bool
) -> None:
    with valkey_server(tmp_path) as server:
        books = Books()
        async with instances(server.port, books=books) as [one]:
            silent = Instance("silent", books)
            await silent.connect(server.port, silent=True)
            await silent.quota.whole()
            books.at_once = False
            one.end(await one.held(40), 20)
            silent.end(await silent.held(40), 20)
            books.before_read = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
            one.tasks.pop().cancel()  # it hands in below
            await lose(server, one, silent)
            await until(lambda: one.quota.standing.waiting == () and one.quota._calls.epoch)
            server.ask("SAVE")
            await asyncio.sleep(0.002)
            one.tasks.append(asyncio.create_task(one.hand_in()))
            await until(lambda: one.quota.standing.waiting == ("silent",))
            if not stamped:
                one.quota._calls._changed_ms = 0
            assert b"OK" in server.ask("DEBUG", "RELOAD", "NOSAVE")
            await until(lambda: one.quota._epochs.built + silent.quota._epochs.built == 3)
            silent.tasks.append(asyncio.create_task(silent.hand_in()))
            await until(lambda: usable(one) and usable(silent))
            assert await one.figures() == (40, 0)

"""What happens when the counts are lost: seen at once, refused or passed meanwhile, and rebuilt."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from pathlib import Path

import pytest

from proxy.core.limits.decisions import Used
from proxy.core.limits.limit import Enforce
from proxy.core.limits.state import Refused
from proxy.quota import QuotaUnavailable
from proxy.quota.valkey import script
from tests.quota.valkey.booked import (
    ALL,
    DAY,
    NOW_MS,
    SLOTS,
    SOFT,
    Books,
    instances,
    lose,
    usable,
)
from tests.quota.valkey.relay import relay
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent.parent.parent


async def test_an_emptied_server_is_seen_at_once_and_built_anew(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        first, running = await one.held(300), await one.held(100)
        one.end(first, 250)
        assert await one.figures() == (250, 100)
        valkey.ask("FLUSHALL")
        with pytest.raises(QuotaUnavailable, match="being restored"):
            await one.ask(1)
        await until(lambda: usable(one))
        assert await one.figures() == (250, 100), "the running one was handed in"
        assert (await one.figures(SLOTS)) == (1, 0)
        one.end(running, 40)
        assert await one.figures() == (290, 0)
        assert (await one.figures(SLOTS)) == (0, 0)
        assert isinstance(await one.ask(711), Refused)
        await one.held(710)


async def test_a_restarted_server_is_seen_by_its_run_alone(tmp_path: Path) -> None:
    """The data is back from its file, epoch and all, but it may lag."""
    with valkey_server(tmp_path) as server:
        async with instances(server.port) as [one]:
            one.end(await one.held(300), 250)
            await one.quota.flush()
            server.ask("SAVE")
            one.end(await one.held(300), 200)
            await one.quota.flush()
            before = one.quota._epochs.built
            server.kill()
            server.start()
            assert b"epoch" in server.ask("KEYS", "*epoch")
            await until(lambda: one.quota._epochs.built > before and usable(one))
            assert await one.figures() == (450, 0)


async def test_a_promoted_copy_that_lags_is_seen(tmp_path: Path, valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    with valkey_server(tmp_path) as copy:
        async with relay(valkey.port) as way, instances(way.port) as [one]:
            one.end(await one.held(300), 250)
            await one.quota.flush()
            copy.ask("REPLICAOF", "127.0.0.1", str(valkey.port))
            await until(lambda: b"epoch" in copy.ask("KEYS", "*epoch"))
            copy.ask("REPLICAOF", "NO", "ONE")
            running = await one.held(100)
            one.end(await one.held(300), 200)
            await one.quota.flush()
            way.to_port = copy.port
            way.cut()
            await until(lambda: one.quota._epochs.built == 2 and usable(one))
            assert await one.figures() == (450, 100)
            one.end(running, 10)
            assert await one.figures() == (460, 0)


async def test_one_of_many_builds_and_all_hand_in_what_they_hold(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port, 4) as all_of_them:
        running = [await one.held(50) for one in all_of_them]
        for one in all_of_them:
            one.end(await one.held(20), 10)
            await one.quota.flush()
        assert await all_of_them[0].figures() == (40, 200)
        valkey.ask("FLUSHALL")
        for one in all_of_them:
            with contextlib.suppress(QuotaUnavailable):
                await one.figures()
        for one in all_of_them:
            await until(lambda: usable(one))  # noqa: B023
            await one.quota.flush()
        assert sum(one.quota._epochs.built for one in all_of_them) == 2, "at the start, and now"
        assert await all_of_them[2].figures() == (40, 200)
        for one, held in zip(all_of_them, running, strict=True):
            one.end(held, 5)
            await one.quota.flush()
        assert await all_of_them[3].figures() == (60, 0)


async def test_a_builder_that_dies_is_followed_by_another(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    valkey.ask("SET", "{tk}:1:lock", "dead", "PX", "300")
    valkey.ask("SET", "{tk}:1:next", "dead|x")
    async with instances(valkey.port) as [one]:
        one.end(await one.held(30), 20)
        assert await one.figures() == (20, 0)


async def test_what_ends_while_the_server_is_away_is_counted_once(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as server:
        async with instances(server.port) as [one]:
            held = [await one.held(50) for _ in range(4)]
            one.end(held[0], 10)
            server.kill()
            await until(lambda: not usable(one))
            one.end(held[1], 20)
            one.quota.void(held[2], NOW_MS)
            server.start()
            await until(lambda: usable(one))
            assert await one.figures() == (30, 50)
            one.end(held[3], 30)
            assert await one.figures() == (60, 0)


async def test_a_cut_connection_loses_and_doubles_nothing(valkey: ValkeyServer) -> None:
    """The answer to an end is lost; nobody knows whether it was carried out."""
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, instances(way.port) as [one]:
        for number in range(20):
            held = await one.held(20)
            if number % 2:
                way.hold()
            one.end(held, 10)
            await asyncio.sleep(0.002 * (number % 3))
            before = one.quota._link.connections
            way.release()
            way.cut()
            await until(lambda: one.quota._link.connections > before and usable(one))  # noqa: B023
        await one.quota.flush()
        assert await one.figures() == (200, 0)
        assert one.quota._epochs.built == 1, "the same server has the same counts"


async def test_while_it_is_away_strict_refuses_and_others_are_counted_later(
    tmp_path: Path,
) -> None:
    with valkey_server(tmp_path) as server:
        async with instances(server.port) as [one]:
            soft = (SOFT, SLOTS)
            one.end(await one.held(100), 100)
            server.kill()
            await until(lambda: not usable(one))
            with pytest.raises(QuotaUnavailable):
                await one.ask(10)
            ended, running = await one.held(10, soft), await one.held(20, soft)
            for _ in range(3):
                await one.held(1, soft)
            assert isinstance(await one.ask(1, soft), Refused), "slots hold within this process"
            assert one.quota.failures == 7, "each request is told, whatever became of it"
            one.end(ended, 7, soft)
            server.start()
            await until(lambda: usable(one))
            assert await one.figures(SOFT) == (107, 23)
            one.end(running, 9, soft)
            assert await one.figures(SOFT) == (116, 3)


async def test_what_passed_meanwhile_is_handed_in_where_nothing_was_lost(
    valkey: ValkeyServer,
) -> None:
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, instances(way.port) as [one]:
        port, way.to_port = way.to_port, 1
        way.cut()
        await until(lambda: one.quota._link.peer is None)
        ended, running = await one.held(10, (SOFT,)), await one.held(20, (SOFT,))
        one.quota.settle(ended, Used(output_tokens=7), NOW_MS)
        void = await one.held(5, (SOFT,))
        one.quota.void(void, NOW_MS)
        way.to_port = port
        await until(lambda: one.quota._link.peer is not None)
        assert await one.figures(SOFT) == (7, 20)
        one.quota.settle(running, Used(output_tokens=9), NOW_MS)
        assert await one.figures(SOFT) == (16, 0)


async def test_after_a_time_nobody_passes(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as server:
        async with instances(server.port, outage_max_s=0.0) as [one]:
            server.kill()
            await until(lambda: one.quota._epochs.away_s > 0)
            with pytest.raises(QuotaUnavailable):
                await one.ask(10, (SOFT,))


async def test_modes_that_count_are_the_operator_s_choice(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as server:
        async with instances(server.port, counted=frozenset({Enforce.WARN})) as [one]:
            server.kill()
            await until(lambda: not usable(one))
            with pytest.raises(QuotaUnavailable):
                await one.ask(10, (SOFT,))
            await one.held(10, (limit("5 tokens/day", "warn"),))


async def test_a_hold_that_the_store_does_not_know_has_all_built_anew(valkey: ValkeyServer) -> None:
    """A restore in place changes neither the run nor the epoch."""
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        one.end(await one.held(100), 100)
        running, other = await one.held(50), await one.held(30)
        await one.quota.flush()
        valkey.ask("EVAL", "return redis.call('DEL', unpack(redis.call('KEYS', '*:i:*')))", "0")
        one.end(running, 40)
        await until(lambda: one.quota._epochs.built == 2 and usable(one))
        assert await one.figures() == (140, 30)
        one.end(other, 10)
        assert await one.figures() == (150, 0)


async def test_the_rights_that_the_docs_name_are_enough(tmp_path: Path) -> None:
    """And each of the script's own commands is among them."""
    told = (ROOT / "docs/scale.md").read_text().partition("A user needs")[2].partition("on `~")[0]
    rights = re.findall(r"\+[a-z]+", told)
    called = re.findall(r"call\('([A-Z]+)'", script())
    assert {f"+{name.lower()}" for name in called} <= set(rights)
    with valkey_server(tmp_path) as server:
        server.ask("ACL", "SETUSER", "tk", "on", ">pw", "~{tk}*", *rights)
        url = f"valkey://tk:pw@127.0.0.1:{server.port}/1"
        minute = limit("900 tokens/minute", "cut", warn_at_ppm=())
        values = limit("90 tokens/day per end_user")
        limits = (*ALL, minute, values.of_value("u1"))
        books = Books()
        async with instances(url, books=books, counted=frozenset()) as [one]:
            quota = one.quota
            running = [await one.held(10, limits) for _ in range(3)]
            assert await quota.extend(running[0], 50, None, NOW_MS) is None
            quota.release_slots(running[1])
            books.at_once = False
            for held in running:
                one.end(held, 5, limits)
            quota.adjust([SOFT], NOW_MS, Used(requests=0, output_tokens=1), NOW_MS)
            await quota.flush()
            assert await one.figures(SOFT) == (16, 0)
            quota.forget([SOFT], everywhere=True)
            one.quota.distrust("of a test")
            await until(lambda: one.quota._epochs.built == 2 and usable(one))
            assert await one.figures(SOFT) == (15, 0)


async def test_a_lost_count_is_found_on_a_quiet_day_too(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        one.end(await one.held(30), 20)
        await one.quota.flush()
        valkey.ask("FLUSHALL")
        await until(lambda: one.quota._epochs.built == 2 and usable(one))
        assert await one.figures() == (20, 0)


async def test_holds_that_are_gone_are_missed_before_they_end(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        running = await one.held(50)
        valkey.ask("EVAL", "return redis.call('DEL', unpack(redis.call('KEYS', '*:i:*')))", "0")
        await until(lambda: one.quota._epochs.built == 2 and usable(one))
        assert await one.figures() == (0, 50)
        one.end(running, 10)
        assert await one.figures() == (10, 0)


async def test_what_an_earlier_epoch_left_is_removed(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        for number in range(300):
            total = limit(f"{number + 5} tokens/total", whose=f"key:k{number}")
            one.end(await one.held(1, (total,)), 1, (total,))
        await one.quota.flush()
        one.quota.distrust("of a test")
        await until(lambda: one.quota._epochs.built == 2 and usable(one))
        prefix = one.quota._calls.epoch.prefix.decode()  # type: ignore[union-attr]
        mine = f"return #redis.call('KEYS', '{prefix}*')"
        every = "return #redis.call('KEYS', '{tk}:1:*:*')"
        await until(lambda: valkey.ask("EVAL", every, "0") == valkey.ask("EVAL", mine, "0"))
        assert (await one.figures(total)) == (1, 0)


async def test_clocks_that_differ_are_told_once(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port) as [one]:
        epochs = one.quota._epochs
        for apart_ms, times in ((0, 0), (1500, 1), (1500, 1), (-20_000, 1), (300, 1), (-1500, 2)):
            epochs._compare(time.time_ns() // 1_000_000 + apart_ms)
            assert caplog.text.count("s apart") == times


async def test_what_passed_meanwhile_comes_in_a_few_at_a_time(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of now come between; and a cut on the way loses and doubles none."""
    monkeypatch.setattr("proxy.quota.valkey.calls.AT_ONCE", 2)
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, instances(way.port) as [one]:
        port, way.to_port = way.to_port, 1
        way.cut()
        await until(lambda: one.quota._link.peer is None)
        before = len(way.writes)
        for _ in range(400):
            held = await one.held(1, (SOFT,))
            one.quota.settle(held, Used(output_tokens=1), NOW_MS)
        way.to_port = port
        for _ in range(3):
            await until(lambda: usable(one))
            assert (await one.figures(SOFT))[0] <= 400
            made = one.quota._link.connections
            way.cut()
            await until(lambda: one.quota._link.connections > made)  # noqa: B023
        await one.quota.flush()
        assert await one.figures(SOFT) == (400, 0)
        assert max(written.count(b"$4\r\njoin") for written in way.writes[before:]) < 20


async def test_a_server_that_falls_silent_while_counts_are_restored_is_left(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else asks it meanwhile, so nobody else would find out."""
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, instances(way.port) as [one]:
        one.end(await one.held(30), 20)
        await one.quota.flush()
        monkeypatch.setattr("proxy.quota.valkey.building.BUILD_S", 0.05)
        valkey.ask("SET", "{tk}:1:lock", "dead", "PX", "300")
        one.quota.distrust("of a test")
        await until(one.quota._epochs.lost.is_set)
        way.hold()
        made = way.connections
        await until(lambda: way.connections > made)
        way.release()
        await until(lambda: one.quota._epochs.built == 2 and usable(one))
        assert await one.figures() == (20, 0)


async def test_an_epoch_that_is_left_and_found_again_is_the_same(valkey: ValkeyServer) -> None:
    """A restore that had no answer proves nothing: holds and ends go on as they were."""
    valkey.ask("FLUSHALL")
    async with relay(valkey.port) as way, instances(way.port, timeout_s=0.05) as [one]:
        one.end(await one.held(30), 20)
        void, ended, running = await one.held(5), await one.held(6), await one.held(7)
        await one.quota.flush()
        way.hold()
        one.quota._epochs.stale()  # as after an answer of another epoch
        assert one.quota._calls.epoch is None
        one.quota.void(void, NOW_MS)
        one.end(ended, 4)
        way.release()
        await until(lambda: usable(one))
        await one.quota.flush()
        assert one.quota._epochs.built == 1
        assert await one.figures() == (24, 7)
        one.end(running, 1)
        assert await one.figures() == (25, 0)


async def test_what_one_process_forgets_the_others_go_on_counting(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with instances(valkey.port, 2) as [one, other]:
        one.end(await one.held(30), 20)
        running = await other.held(30)
        one.quota.forget(ALL)
        assert one.quota.limits() == ()
        await one.quota.flush()
        for limit_, figures in ((DAY, (20, 30)), (SOFT, (20, 30)), (SLOTS, (1, 0))):
            assert await other.figures(limit_) == figures
        other.end(running, 20)
        await other.quota.flush()
        await one.restore_some()  # it has the limits again
        assert await one.figures(DAY) == (40, 0)
        one.quota.forget([DAY], everywhere=True)
        await one.quota.flush()
        assert await other.figures(DAY) == (0, 0)


class Waiting(Books):
    """Is read once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def before_read(self) -> None:
        await self.go_on.wait()


async def test_counts_that_could_not_be_restored_are_whole_only_once_all_are_built_again(
    valkey: ValkeyServer,
) -> None:
    """Who built them in between may not know the limits that were to be restored."""
    valkey.ask("FLUSHALL")
    books = Waiting()
    async with instances(valkey.port, books=books) as [one]:
        books.go_on.clear()
        await lose(valkey, one)
        assert not await one.quota.restore((), (), since_ms=NOW_MS, now_ms=NOW_MS)
        books.go_on.set()
        await one.quota.whole()
        assert one.quota._epochs.built == 3
        assert await one.quota.restore((), (), since_ms=NOW_MS, now_ms=NOW_MS)

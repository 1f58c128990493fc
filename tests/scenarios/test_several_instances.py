"""Several instances on one PostgreSQL and one Valkey while something ends, stops or is away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from itertools import count
from pathlib import Path
from time import monotonic

import pytest

from tests.deploy.test_nginx import NGINX, nginx
from tests.quota.valkey.relay import Relay, relay
from tests.scenarios.fleet import Load, strict, under_load, world
from tests.scenarios.test_instances import instances
from tests.support.effort import FULL
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole  # processes and servers of their own

ROUNDS = 50 if FULL else 4


@pytest.mark.campaign
@pytest.mark.parametrize("way", ["nginx", "clients that know all addresses"])
async def test_a_rolling_restart_fails_no_request(tmp_path: Path, way: str) -> None:
    if way == "nginx" and NGINX is None:
        pytest.skip("nginx is not on this machine")
    drain = {"delay": "5s", "timeout": "60s"}
    async with world(tmp_path, "abcd", strict(10**9), drain=drain) as (
        shared,
        found,
        vendor,
        stack,
    ):
        addresses = [one.address for one in found]
        load = Load(addresses)
        if way == "nginx":
            load = Load([await stack.enter_async_context(nginx(tmp_path, *addresses))])
        took_s = []
        async with under_load(load, 32):
            for one in found:
                seen = len(load.served)
                await until(lambda seen=seen: len(load.served) >= seen + 200)
                began_s = monotonic()
                await one.stop()
                took_s.append(monotonic() - began_s)
                await asyncio.to_thread(stack.enter_context, one.running())
            seen = len(load.served)
            await until(lambda: len(load.served) >= seen + 200)
        print(f"{way}: {load.statuses}, failed {len(load.failed)} {load.failed[:12]}, refused connects "
              f"{load.refused_connects}, stops {[round(s, 1) for s in took_s]} s")  # fmt: skip
        assert not load.failed
        assert set(load.statuses) == {200}
        await shared.agrees([load], vendor, found[0].directory)


@pytest.mark.campaign
async def test_a_stopped_instance_keeps_its_holds_and_wakes_up_to_the_same_counts(
    tmp_path: Path,
) -> None:
    limit, held = 300, 20
    async with world(tmp_path, "abc", strict(limit)) as (shared, found, vendor, _):
        numbers = count(1)
        before, there, others = (
            Load([one.address for one in some]) for some in (found[1:2], found[1:2], found[::2])
        )
        streams = [
            asyncio.create_task(before.alone(next(numbers), "m-held", stream=True))
            for _ in range(held)
        ]
        await until(lambda: len(vendor.arrived) == held)
        # The first of its burst have arrived when it stops; some are on their way through it.
        burst = [asyncio.create_task(there.alone(next(numbers))) for _ in range(100)]
        await until(lambda: len(vendor.arrived) > held)
        found[1].process.send_signal(signal.SIGSTOP)
        try:
            asked = await asyncio.gather(*(others.alone(next(numbers)) for _ in range(400)))
            while instances(found[0].directory)["b"] != "lapsed":
                pass  # another process tells: each look is a process of its own
            asked += await asyncio.gather(*(others.alone(next(numbers)) for _ in range(20)))
            assert set(asked) == {200, 429}
            assert asked[-20:] == [429] * 20, "what it holds stays held, also when it is lapsed"
            passed = asked.count(200)
            assert limit - held - 100 <= passed < limit - held
        finally:
            found[1].process.send_signal(signal.SIGCONT)
        there_passed = (await asyncio.gather(*burst)).count(200)
        vendor.go_on.set()
        assert await asyncio.gather(*streams) == [200] * held
        print(f"others let through {passed}, the stopped one {there_passed} and its {held} streams")
        assert held + passed + there_passed == limit
        assert await shared.agrees([before, there, others], vendor, found[0].directory) == limit
        async with guard():
            while await asyncio.to_thread(instances, found[0].directory) != dict.fromkeys(
                "abc", "live"
            ):
                pass


@pytest.mark.campaign
async def test_of_four_times_200_at_once_exactly_k_pass_in_each_round(tmp_path: Path) -> None:
    room = {n: 1 + n * 97 % 799 for n in range(ROUNDS)}
    modes = ("strict", "cut", "finish")
    keys = {
        f"round-{n}": {
            "team": "research",
            "secret": f"sk-round-{n}",
            "limits": [{"limit": f"{k} requests/day", "enforce": modes[n % len(modes)]}],
        }
        for n, k in room.items()
    }
    async with world(tmp_path, "abcd", strict(10**9), keys=keys) as (shared, found, vendor, _):
        numbers = count(1)
        loads = [Load([one.address for one in found], key=f"sk-round-{n}") for n in room]
        for n, load in enumerate(loads):
            statuses = Counter(
                await asyncio.gather(*(load.alone(next(numbers)) for _ in range(800)))
            )
            assert statuses == Counter({200: room[n], 429: 800 - room[n]}), (n, statuses)
        total = await shared.agrees(loads, vendor, found[0].directory)
        print(f"{ROUNDS} rounds of 4 x 200: exactly k in each, {total} let through")
        assert total == sum(room.values())


@pytest.mark.campaign
async def test_a_killed_database_loses_and_doubles_nothing_under_two_instances(
    tmp_path: Path,
) -> None:
    limit = 3000
    async with world(tmp_path, "ab", strict(limit), own=True) as (shared, found, vendor, _):
        load = Load([one.address for one in found])
        booked = 0
        async with under_load(load, 16):
            for more in (500, 1500):
                await until(lambda more=more: len(load.served) >= more)
                shared.database.kill()
                seen = len(load.served)
                await until(lambda seen=seen: len(load.served) >= seen + 300)
                shared.database.start()
                booked = len(shared.booked())
            await until(lambda: load.statuses[429] >= 100)
        print(f"{load.statuses}, failed {load.failed}; {booked} were booked at the second start")
        assert not load.failed
        assert set(load.statuses) == {200, 429}
        assert await shared.agrees([load], vendor, found[0].directory) == limit


class Losses:
    """A quota store whose counts are lost in one of four ways, at `port` for the processes."""

    def __init__(self, how: str, root: Path, stack: contextlib.AsyncExitStack) -> None:
        self.how, self._root, self._stack = how, root, stack
        self._servers: list[ValkeyServer] = []
        self._way: Relay

    async def begin(self) -> str:
        """The URL of the store."""
        for name in ("first", "second")[: 1 + (self.how == "replaced")]:
            (self._root / name).mkdir()
            self._servers.append(self._stack.enter_context(valkey_server(self._root / name)))
        self._way = await self._stack.enter_async_context(relay(self._servers[0].port))
        return f"valkey://127.0.0.1:{self._way.port}/0"

    async def lose(self, load: Load) -> None:
        """Lose counts, while requests go on."""
        server = self._servers[0]
        if self.how == "killed":
            server.kill()
            refused = load.statuses[503]
            await until(lambda: load.statuses[503] >= refused + 10)
            server.start()
        elif self.how == "flushed":
            server.ask("FLUSHALL")
        elif self.how == "replaced":
            other = self._servers[1]
            other.ask("REPLICAOF", "127.0.0.1", str(server.port))
            await until(lambda: b"master_link_status:up" in other.ask("INFO", "replication"))
            other.ask("REPLICAOF", "NO", "ONE")
            await self._some(load)  # it lags by these
            self._way.to_port = other.port
            self._way.cut()
            self._servers.reverse()
        else:
            server.ask("SAVE")
            await self._some(load)
            assert b"OK" in server.ask("DEBUG", "RELOAD", "NOSAVE")

    async def _some(self, load: Load) -> None:
        seen = load.statuses[200] + load.statuses[429]
        await until(lambda: load.statuses[200] + load.statuses[429] >= seen + 20)


@pytest.mark.campaign
@pytest.mark.parametrize("how", ["killed", "flushed", "replaced", "set back"])
async def test_lost_counts_overspend_no_strict_limit(tmp_path: Path, how: str) -> None:
    """And the limit's count is the ledger's in the end: nothing is counted twice."""
    limit, losses, clients = 3000, 20 if FULL else 5, 16
    async with contextlib.AsyncExitStack() as servers:
        lost = Losses(how, tmp_path, servers)
        quota = {"url": await lost.begin(), "timeout": "30s"}
        async with world(tmp_path, "ab", strict(limit), quota=quota) as (shared, found, vendor, _):
            load = Load([one.address for one in found])
            async with under_load(load, clients):
                for loss in range(1, losses + 1):
                    await until(lambda loss=loss: len(load.served) >= loss * limit // (losses + 2))
                    await lost.lose(load)
                seen = load.statuses[429]
                await until(lambda: load.statuses[429] >= seen + 100)
            over = len(load.served) - limit
            print(f"{how} {losses} times: {load.statuses}, failed {load.failed}, over by {over}")
            assert not load.failed
            assert set(load.statuses) <= {200, 429, 503}
            assert over == 0
            assert await shared.agrees([load], vendor, found[0].directory) == limit

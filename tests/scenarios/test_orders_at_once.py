"""Two processes are ordered at once to give one key the same limit: what passed counts once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from proxy.admin.control_socket import NAME
from proxy.ledger import connect_reader
from tests.dataplane.test_hold import PRICES
from tests.scenarios.test_instances import becomes, place
from tests.scenarios.test_postgresql_ledger import answer, asked, requests, tollkeeper
from tests.support.postgres import postgres
from tests.support.process import Process, proxy_process
from tests.support.raw import raw_upstream
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole  # processes and servers of their own

LIMIT = 5
BEFORE = 2  # requests that passed before the limit was ordered
LOOKS = 30  # in a row that find it: others wait for a moment


class Gate:
    """A way to a port. While it is shut, what clients send is kept in `waiting`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.waiting = b""
        self.shut = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Let through what waits; there is one client."""
        self.shut, waiting, self.waiting = False, self.waiting, b""
        self._writers[-1].write(waiting)

    async def __aenter__(self) -> Gate:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_read, to_write = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.append(to_write)
        for work in (self._pass(reader, to_write, True), self._pass(to_read, writer, False)):
            self._tasks.add(asyncio.create_task(work))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if held and self.shut:
                    self.waiting += data
                else:
                    writer.write(data)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def edit(directory: Path) -> asyncio.Task[str]:
    """The order, under way."""
    words = ("key", "edit", "bob", "--limit", f"{LIMIT} requests/day", "-c", "config.yaml")
    return asyncio.create_task(asyncio.to_thread(tollkeeper, directory, *words))


async def ordered(process: Process) -> None:
    """The same without a start of the command line."""
    async with control(process) as admin:
        body = {"says": {"limits": [f"{LIMIT} requests/day"]}}
        async with admin.patch("/admin/v1/keys/bob", json=body) as done:
            assert done.status == 200, await done.text()


async def used(process: Process, limit: str) -> int:
    """What has been used of it, once the process can tell."""
    async with control(process) as admin:
        while True:
            async with admin.get("/admin/v1/limits") as found:
                if found.status == 200:
                    limits = (await found.json())["limits"]
                    return next(one["used"] for one in limits if one["id"] == limit)


def control(process: Process) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(str(process.data_dir / NAME))
    return aiohttp.ClientSession("http://admin", connector=connector)


def waits_for_an_order(url: str) -> bool:
    """Whether a process waits in the database until another's order is written."""
    name = url.rpartition("/")[2]
    held = postgres().sql(
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        f" WHERE locktype = 'advisory' AND NOT granted AND datname = '{name}'"
    )
    return bool(held)


class World(NamedTuple):
    """Two processes of one ledger and one quota; the second one's way to it is a gate."""

    one: Path
    two: Path
    first: Process
    second: Process
    gate: Gate
    valkey: ValkeyServer
    url: str
    key: str


@contextlib.asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """They serve, and the key of bob, which has no limit to speak of, passed BEFORE requests."""
    url = postgres().database()
    (tmp_path / "valkey").mkdir()
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    reader = connect_reader(url, tmp_path)

    def blocks(port: int) -> dict[str, object]:
        quota = {"url": f"valkey://127.0.0.1:{port}/0", "timeout": "30s"}
        return {"ledger": {"url": url}, "prices": PRICES, "quota": quota}

    with valkey_server(tmp_path / "valkey") as valkey, contextlib.ExitStack() as processes:

        async def started(directory: Path, port: int) -> Process:
            # In a thread, so that the gate passes on what the start asks.
            return await asyncio.to_thread(
                processes.enter_context,
                proxy_process(directory, upstream.url, instance=directory.name, **blocks(port)),
            )

        async with raw_upstream(answer) as upstream, Gate(valkey.port) as gate, guard():
            first, second = await started(one, valkey.port), await started(two, gate.port)
            words = ("key", "create", "bob", "--limit", "1000 requests/week", "--json")
            made = json.loads(await asyncio.to_thread(tollkeeper, one, *words))
            key = made["keys"][0]["secret"]
            assert await becomes(second, key, 200) and await asked(first, key) == 200
            await until(lambda: requests(reader) == BEFORE)  # so that there is use to restore
            yield World(one, two, first, second, gate, valkey, url, key)


async def test_counts_are_dropped_only_for_what_is_written(tmp_path: Path) -> None:
    async with world(tmp_path) as have:
        gate, both = have.gate, (have.first, have.second)
        gate.shut = True
        slow = edit(have.two)
        await until(lambda: b"\r\nforget\r\n" in gate.waiting)
        quick = edit(have.one)
        waited = 0
        while not quick.done() and waited < LOOKS:
            waited = waited + 1 if await asyncio.to_thread(waits_for_an_order, have.url) else 0
        passed = [await asked(have.first, have.key) for _ in range(2)] if quick.done() else []
        gate.open()
        await asyncio.gather(slow, quick)
        passed += [await asked(one_of, have.key) for one_of in both * LIMIT]
        assert passed.count(200) == LIMIT - BEFORE, passed
        assert passed.count(429) == len(passed) - (LIMIT - BEFORE)


async def test_a_new_limit_has_its_past_use_where_all_counts_are_lost_in_the_middle_of_its_order(
    tmp_path: Path,
) -> None:
    """The other process builds them anew, and does not know the limit yet."""
    async with world(tmp_path) as have:
        have.gate.shut = True
        order = asyncio.create_task(ordered(have.second))
        await until(lambda: b"\r\nforget\r\n" in have.gate.waiting)
        have.valkey.ask("FLUSHALL")
        await until(lambda: b"epoch" in have.valkey.ask("KEYS", "*epoch"))  # by the other one
        have.gate.open()
        await order
        # At once: what passes from now on must be counted on top of what has passed.
        assert await used(have.second, "key:bob/requests/day") == BEFORE

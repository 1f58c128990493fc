"""Two processes are ordered at once to give one key the same limit: what passed counts once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from proxy.ledger import connect_reader
from tests.dataplane.test_hold import PRICES
from tests.scenarios.test_instances import becomes, place
from tests.scenarios.test_postgresql_ledger import answer, asked, requests, tollkeeper
from tests.support.postgres import postgres
from tests.support.process import proxy_process
from tests.support.raw import raw_upstream
from tests.support.valkey import valkey_server
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


def waits_for_an_order(url: str) -> bool:
    """Whether a process waits in the database until another's order is written."""
    name = url.rpartition("/")[2]
    held = postgres().sql(
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        f" WHERE locktype = 'advisory' AND NOT granted AND datname = '{name}'"
    )
    return bool(held)


async def test_counts_are_dropped_only_for_what_is_written(tmp_path: Path) -> None:
    url = postgres().database()
    (tmp_path / "valkey").mkdir()
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    reader = connect_reader(url, tmp_path)

    def blocks(port: int) -> dict[str, object]:
        quota = {"url": f"valkey://127.0.0.1:{port}/0", "timeout": "30s"}
        return {"ledger": {"url": url}, "prices": PRICES, "quota": quota}

    with valkey_server(tmp_path / "valkey") as valkey:
        async with raw_upstream(answer) as upstream, Gate(valkey.port) as gate, guard():
            with (
                proxy_process(one, upstream.url, instance="one", **blocks(valkey.port)) as first,
                proxy_process(two, upstream.url, instance="two", **blocks(gate.port)) as second,
            ):
                wide = ("--limit", "1000 requests/week")
                made = json.loads(tollkeeper(one, "key", "create", "bob", *wide, "--json"))
                key = made["keys"][0]["secret"]
                assert await becomes(second, key, 200) and await asked(first, key) == 200
                await until(lambda: requests(reader) == BEFORE)  # so that there is use to restore
                gate.shut = True
                slow = edit(two)
                await until(lambda: b"\r\nforget\r\n" in gate.waiting)
                quick = edit(one)
                waited = 0
                while not quick.done() and waited < LOOKS:
                    waited = waited + 1 if await asyncio.to_thread(waits_for_an_order, url) else 0
                passed = [await asked(first, key) for _ in range(2)] if quick.done() else []
                gate.open()
                await asyncio.gather(slow, quick)
                passed += [await asked(one_of, key) for one_of in (first, second) * LIMIT]
                assert passed.count(200) == LIMIT - BEFORE, passed
                assert passed.count(429) == len(passed) - (LIMIT - BEFORE)

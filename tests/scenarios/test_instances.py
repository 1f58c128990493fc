"""Several processes share a ledger: each has its name, and its own chain in the book."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from datetime import UTC
from pathlib import Path

import pytest
import yaml

from proxy.ledger import Reader, connect_reader
from tests.cli.process import running as command
from tests.dataplane.test_hold import PRICES, ask
from tests.scenarios.test_postgresql_ledger import answer, asked, requests, tollkeeper
from tests.support.postgres import PostgresServer, postgres, programs
from tests.support.process import Process, proxy_process
from tests.support.raw import RawClient, raw_upstream
from tests.support.running import config
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole  # processes and servers of their own

KEY = "sk-tk-test"


def place(root: Path, name: str) -> Path:
    """The directory of a process, with the ledger's key that all have."""
    directory = root / name
    (directory / "var").mkdir(parents=True)
    (directory / "var" / "ledger.key").write_text("ab" * 32)
    return directory


def instances(directory: Path) -> dict[str, str]:
    found = json.loads(tollkeeper(directory, "instance", "list", "-c", "config.yaml", "--json"))
    return {one["name"]: one["state"] for one in found}


def cleared(directory: Path) -> list[int]:
    found = json.loads(tollkeeper(directory, "instance", "list", "-c", "config.yaml", "--json"))
    return [one["clear_ms"] or 0 for one in found]


async def test_two_processes_book_into_one_ledger_and_know_of_each_other(tmp_path: Path) -> None:
    url = postgres().database()
    blocks = {"ledger": {"url": url}, "prices": PRICES}
    reader = connect_reader(url, tmp_path)
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    async with raw_upstream(answer) as upstream:
        with (
            proxy_process(one, upstream.url, instance="one", **blocks) as first,
            proxy_process(two, upstream.url, instance="two", **blocks) as second,
        ):
            key = json.loads(tollkeeper(one, "key", "create", "bob", "--json"))["keys"][0]["secret"]
            assert await asked(first, key) == 200
            assert instances(one) == {"one": "live", "two": "live"}
            assert (two / "var" / "journal" / "two").is_dir()
            await until(lambda: requests(reader) == 1)
            # Each says how far it has booked what it began: a month is closed by that.
            begun_ms = time.time_ns() // 1_000_000
            await until(lambda: all(ms > begun_ms for ms in cleared(one)))
            assert second.pid != first.pid
    assert reader.usage(["key"], None, None, UTC)[0]["requests"] == 1


async def test_a_second_process_of_a_name_is_refused(tmp_path: Path) -> None:
    blocks = {"ledger": {"url": postgres().database()}, "prices": PRICES, "instance": "one"}
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    upstream_url = "http://127.0.0.1:9/v1"
    with proxy_process(one, upstream_url, **blocks):
        for directory, said in (
            (one, "on this data directory"),
            (two, "on another data directory"),
        ):
            words = yaml.safe_dump(config(upstream_url, **blocks))
            (directory / "again.yaml").write_text(words)
            with command("serve", "-c", "again.yaml", cwd=directory, ready=re.escape(said)) as (
                process,
                _,
            ):
                assert await asyncio.to_thread(process.wait) == 1


def order(directory: Path, *words: str) -> None:
    tollkeeper(directory, *words, "-c", "config.yaml")


async def becomes(proxy: Process, key: str, status: int) -> float:
    """Asks until the answer has this status; returns after how many seconds it had."""
    began_s = time.monotonic()
    async with guard():
        while await asked(proxy, key) != status:
            pass
    return time.monotonic() - began_s


async def test_what_one_does_to_keys_and_limits_holds_at_the_other(tmp_path: Path) -> None:
    url = postgres().database()
    blocks = {"ledger": {"url": url}, "prices": PRICES, "teams": {"research": {}}}
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    async with raw_upstream(answer) as upstream:
        with (
            proxy_process(one, upstream.url, instance="one", **blocks),
            proxy_process(two, upstream.url, instance="two", **blocks) as second,
        ):
            made = tollkeeper(one, "key", "create", "bob", "--limit", "2 requests/day", "--json")
            key = json.loads(made)["keys"][0]["secret"]
            await becomes(second, key, 200)
            order(one, "key", "suspend", "bob")
            print("suspended after", await becomes(second, key, 401))
            # What a listening connection would have told is found by the next look.
            postgres().sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{url.rpartition('/')[2]}' AND query LIKE '%max(version), 0) FROM%'"
            )
            order(two, "key", "resume", "bob")
            print("resumed after", await becomes(second, key, 200))
            assert await asked(second, key) == 429
            limit = "key:bob/requests/day"
            order(one, "limit", "credit", limit, "1", "--reason", "more")
            await becomes(second, key, 200)
            assert await asked(second, key) == 429, "a credit counts once"


async def test_while_the_database_is_away_known_keys_are_served(tmp_path: Path) -> None:
    server = PostgresServer(programs())
    blocks = {"ledger": {"url": server.database()}, "prices": PRICES}
    one = place(tmp_path, "one")
    try:
        async with raw_upstream(answer) as upstream:
            with proxy_process(one, upstream.url, instance="one", **blocks) as proxy:
                made = json.loads(tollkeeper(one, "key", "create", "bob", "--json"))
                key = made["keys"][0]["secret"]
                assert await asked(proxy, "sk-unknown-1") == 401
                server.kill()
                await becomes(proxy, "sk-unknown-1", 503)
                assert await asked(proxy, key) == 200
                with pytest.raises(AssertionError, match="cannot be written now"):
                    order(one, "key", "suspend", "bob")
                server.start()
                await becomes(proxy, "sk-unknown-1", 401)
                order(one, "key", "suspend", "bob")
                assert await asked(proxy, key) == 401
    finally:
        server.remove()


async def begun(proxy: Process, secret: str) -> asyncio.Task[bytes]:
    """What comes behind the first words of a stream that does not end by itself."""
    client = await RawClient.connect(proxy.address)
    await client.post(ask("m-slow", stream=True), key=secret)
    status, head = await client.head()
    assert status == 200
    await client.chunk()

    async def rest() -> bytes:
        try:
            return (await client.rest(status, head)).body
        finally:
            await client.aclose()

    return asyncio.create_task(rest())


async def test_a_cut_that_one_is_told_ends_what_runs_at_the_other(tmp_path: Path) -> None:
    url = postgres().database()
    blocks = {"ledger": {"url": url}, "prices": PRICES, "teams": {"research": {}}}
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    reader = connect_reader(url, tmp_path)
    async with raw_upstream(answer) as upstream, guard():
        with (
            proxy_process(one, upstream.url, instance="one", **blocks),
            proxy_process(two, upstream.url, instance="two", **blocks) as second,
        ):
            keys = {}
            for name, words in (("bob", ()), ("carol", ("--team", "research")), ("dave", ())):
                made = json.loads(tollkeeper(one, "key", "create", name, *words, "--json"))
                keys[name] = made["keys"][0]["secret"]
                await becomes(second, keys[name], 200)
            bob, carol, dave = [await begun(second, key) for key in keys.values()]
            order(one, "key", "suspend", "bob")
            await becomes(second, keys["bob"], 401)
            assert not bob.done(), "nobody ordered a cut"
            order(one, "key", "suspend", "bob", "--cut")
            assert b"key_suspended" in await bob
            order(one, "key", "resume", "bob")
            await becomes(second, keys["bob"], 200)
            again = await begun(second, keys["bob"])
            order(one, "key", "suspend", "bob")
            await becomes(second, keys["bob"], 401)
            order(one, "team", "suspend", "research", "--cut")
            assert b"key_suspended" in await carol
            assert not again.done(), "an earlier order holds for what ran then"
            assert not dave.done()
            again.cancel()
            dave.cancel()
            await until(lambda: outcomes(reader).get("cut") == 2)


async def test_a_cut_holds_at_a_process_that_hears_of_it_with_the_resume(tmp_path: Path) -> None:
    url = postgres().database()
    blocks = {"ledger": {"url": url}, "prices": PRICES, "teams": {"research": {}}}
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    async with raw_upstream(answer) as upstream, guard():
        with (
            proxy_process(one, upstream.url, instance="one", **blocks),
            proxy_process(two, upstream.url, instance="two", **blocks) as second,
        ):
            keys = []
            for name in ("bob", "carol"):
                made = tollkeeper(one, "key", "create", name, "--team", "research", "--json")
                keys.append(json.loads(made)["keys"][0]["secret"])
                await becomes(second, keys[-1], 200)
            bob, carol = [await begun(second, key) for key in keys]
            second.signal(signal.SIGSTOP)
            await asyncio.to_thread(order, one, "key", "suspend", "bob", "--cut")
            await asyncio.to_thread(order, one, "key", "resume", "bob")
            later = asyncio.create_task(begun(second, keys[0]))
            second.signal(signal.SIGCONT)
            assert b"key_suspended" in await bob
            again = await later
            order(one, "key", "suspend", "bob")
            await becomes(second, keys[0], 401)
            assert not again.done(), "it began behind the order to cut"
            second.signal(signal.SIGSTOP)
            await asyncio.to_thread(order, one, "key", "resume", "bob")
            await asyncio.to_thread(order, one, "team", "suspend", "research", "--cut")
            await asyncio.to_thread(order, one, "team", "resume", "research")
            second.signal(signal.SIGCONT)
            assert b"key_suspended" in await carol
            assert b"was suspended while this ran" in await again
            assert await asked(second, keys[0]) == 200


def outcomes(reader: Reader) -> dict[object, object]:
    """How many are booked of each outcome."""
    return {row["outcome"]: row["requests"] for row in reader.usage(["outcome"], None, None, UTC)}

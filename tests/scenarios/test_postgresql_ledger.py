"""A whole proxy on a ledger in PostgreSQL: a key made on the command line, a killed process, and
the counts of limits that a new one starts with."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import traceback
from datetime import UTC
from pathlib import Path

import aiohttp
import pytest
import yaml

from proxy.ledger import Reader, connect_reader
from proxy.ledger.postgresql.read_only import Connections
from tests.dataplane.test_hold import DONE, PRICES, ask, event
from tests.support.effort import NO_AUTHORITIES
from tests.support.postgres import postgres
from tests.support.process import Process, proxy_process
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import KEY, config, running
from tests.support.waiting import until

pytestmark = pytest.mark.whole

PASSWORD = "s3cret-canary"
STATED = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5}}\n\n'


async def answer(visit: Visit) -> None:
    """A stream that states its usage; one of the model m-slow stops behind its first words."""
    if b"m-slow" in visit.body:
        await visit.stream(event("x" * 40), end=False)
        await asyncio.Event().wait()
    await visit.stream(event("hello"), STATED, DONE)


def tollkeeper(directory: Path, *words: str) -> str:
    """What the command line says, in a process of its own beside a running proxy or without one."""
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *words], cwd=directory, capture_output=True, text=True,
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2]), **NO_AUTHORITIES}, check=False,
    )  # fmt: skip  # the command as one would type it
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done.stdout


async def asked(proxy: Process, secret: str, model: str = "m-1") -> int:
    """The status of one streamed answer, read to its end."""
    client = await RawClient.connect(proxy.address)
    try:
        await client.post(ask(model, stream=True), key=secret)
        return (await client.answer()).status
    finally:
        await client.aclose()


def requests(reader: Reader) -> int:
    """How many are booked."""
    return sum(int(row["requests"] or 0) for row in reader.usage([], None, None, UTC))


async def test_what_a_killed_process_has_journaled_is_in_the_book_and_counts(
    tmp_path: Path,
) -> None:
    url = postgres().database().replace("owner@", f"owner:{PASSWORD}@")
    reader = connect_reader(url, tmp_path)
    blocks = {
        "ledger": {"url": url},
        "prices": PRICES,
        "teams": {"research": {"limits": ["5 requests/day"]}},
    }
    async with raw_upstream(answer) as upstream:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(upstream.url, **blocks)))
        # The first command makes the ledger, as the first process would.
        with pytest.raises(AssertionError, match="no ledger at postgresql://127"):
            tollkeeper(tmp_path, "usage")
        with proxy_process(tmp_path, upstream.url, **blocks):
            assert "***" in tollkeeper(tmp_path, "check")
        made = json.loads(
            tollkeeper(tmp_path, "key", "create", "bob", "--team", "research", "--json")
        )
        secret = made["keys"][0]["secret"]
        with proxy_process(tmp_path, upstream.url, **blocks) as proxy:
            assert [await asked(proxy, secret) for _ in range(3)] == [200, 200, 200]
            running = asyncio.create_task(asked(proxy, secret, "m-slow"))
            await until(lambda: len(upstream.visits) == 4)
            await until(lambda: requests(reader) == 3)
        running.cancel()  # the process was killed while it streamed
        await asyncio.gather(running, return_exceptions=True)
        with proxy_process(tmp_path, upstream.url, **blocks) as proxy:
            await until(lambda: requests(reader) == 4)
            outcomes = json.loads(tollkeeper(tmp_path, "usage", "--by", "outcome", "--json"))
            counts = {row["outcome"]: row["requests"] for row in outcomes if row["row"] == "group"}
            assert counts == {"completed": 3, "interrupted": 1}
            assert [await asked(proxy, secret) for _ in range(2)] == [200, 429]
            await until(lambda: requests(reader) == 5)
            limits = tollkeeper(tmp_path, "limit", "list")
            assert "team:research/requests/day" in limits
            status = json.loads(tollkeeper(tmp_path, "ledger", "status", "--json"))
            assert status["ledger"]["records"] == 5
            [journal] = status["journal"]
            assert (journal["unbooked_closes"], journal["open_exchanges"]) == (0, 0)
            assert status["ledger"]["path"].startswith("postgresql://127.0.0.1:")
            records = [
                json.loads(line)
                for line in tollkeeper(
                    tmp_path, "ledger", "export", "--format", "jsonl"
                ).splitlines()
            ]
            assert [record["seq"] for record in records] == [1, 2, 3, 4, 5]
            shown = tollkeeper(tmp_path, "record", "show", records[0]["id"])
            assert records[0]["id"] in shown
            assert "create" in tollkeeper(tmp_path, "audit", "list")
            tollkeeper(tmp_path, "audit", "verify")
            tollkeeper(
                tmp_path,
                "price",
                "rerate",
                "--from",
                "2020-01-01",
                "--to",
                "2099-01-01",
                "--dry-run",
                "--reason",
                "test",
            )


ADMIN_PAGES = (
    "usage?by=team,day",
    "usage?by=tag:x",
    "records",
    "export?format=csv",
    "labels",
    "refusals",
    "ledger",
    "ledger/anchor",
    "ledger/verify?part=records",
    "limits",
    "credits",
    "keys",
    "audit",
    "audit/verify",
    "health",
)
OWN_PAGES = ("usage", "usage/records", "usage/refusals")


async def test_every_page_is_read_from_it_and_the_loop_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow database must not stop the streams of everybody."""
    on_the_loop: list[str] = []
    plain = Connections.reading

    def reading(self: Connections) -> object:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return plain(self)
        on_the_loop.append("".join(traceback.format_stack(limit=5)))
        return plain(self)

    monkeypatch.setattr(Connections, "reading", reading)
    limits = ["9 requests/day", {"limit": "9 requests/day per end_user"}]
    blocks = {"ledger": {"url": postgres().database()}, "teams": {"research": {"limits": limits}}}
    async with raw_upstream(answer) as upstream:
        for start in (1, 2):  # the second one counts what the first has booked
            async with running(tmp_path, config(upstream.url, **blocks)) as proxy:
                client = await RawClient.connect(proxy.address)
                await client.post(ask(stream=True))
                assert (await client.answer()).status == 200
                await client.aclose()
                socket = aiohttp.UnixConnector(str(proxy.data_dir / "control.sock"))
                headers = {"authorization": f"Bearer {KEY}"}
                async with (
                    aiohttp.ClientSession(connector=socket) as admin,
                    aiohttp.ClientSession(headers=headers) as own,
                ):
                    booked = 0
                    while booked < start:  # a record is in the book a moment after its answer
                        async with admin.get("http://x/admin/v1/ledger") as got:
                            booked = (await got.json())["ledger"]["records"]
                    for page in ADMIN_PAGES:
                        async with admin.get(f"http://x/admin/v1/{page}") as got:
                            assert got.status == 200, (page, await got.text())
                    for page in OWN_PAGES:
                        async with own.get(f"{proxy.base_url}/{page}") as got:
                            assert got.status == 200, (page, await got.text())
                    async with own.get(proxy.metrics_url) as got:
                        assert "tollkeeper_period_charge" in await got.text()
    assert not on_the_loop, on_the_loop[0]

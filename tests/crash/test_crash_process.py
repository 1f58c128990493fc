"""The process as an operator runs it, `python -m proxy serve -c …`: told to stop, out of disk,
started twice. Nothing is lost and nothing stays open."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from proxy.journal import recover
from proxy.scripted_upstream import expected
from tests.crash.checking import Accounts
from tests.crash.kills import VARIANTS, Variant
from tests.crash.load import CHAT, MESSAGES, RESPONSES, SCENES, Load, Scene, Sent, body, leaving
from tests.crash.processes import Proxy, served, upstream
from tests.support.raw import RawClient
from tests.support.waiting import guard, until

pytestmark = pytest.mark.whole

SEED = "1"
SEGMENT_BYTES = 256 * 1024
FULL = pytest.mark.campaign
PLAIN = tuple(
    scene
    for scene in SCENES
    if scene.name
    in (
        "stream with usage",
        "stream without usage",
        "json",
        "slow stream",
        "error 500",
        "left stream",
    )
)
ENDLESS = (
    Scene("very slow stream", "demo-slow:0.5", stream=True, words=(60, 80)),
    Scene("slow stream", "demo-slow:0.02", stream=True, words=(10, 60)),
)


class Place:
    """A directory with its config, the running upstream, and the accounts to compare."""

    def __init__(
        self, directory: Path, address: str, variant: Variant = VARIANTS[0], **blocks: object
    ) -> None:
        self.config = directory / "config.yaml"
        self.config.write_text(yaml.safe_dump({**variant.config(address), **blocks}))
        self.accounts = Accounts(directory / "var", directory / "upstream.jsonl")
        self.sent: list[Sent] = []

    async def compared(self, *, killed: bool) -> list[str]:
        """After the end of a process: what the upstream logged against what is booked."""
        await until(self.accounts.read_log)
        return self.accounts.check(self.sent, killed=killed) + self.accounts.verify()


@asynccontextmanager
async def place(
    directory: Path, variant: Variant = VARIANTS[0], **blocks: object
) -> AsyncIterator[Place]:
    async with upstream(directory / "upstream.jsonl", pace_s=0.001) as address:
        yield Place(directory, address, variant, **blocks)


def left_open(one: Place) -> int:
    return len(recover(one.accounts.data_dir / "journal" / "w0").unresolved)


@pytest.mark.parametrize("pieces", [100, pytest.param(500, marks=FULL)])
@pytest.mark.parametrize("variant", VARIANTS[::3], ids=lambda variant: variant.sync)
async def test_told_to_stop_under_load_it_finishes_what_runs(
    tmp_path: Path, variant: Variant, pieces: int
) -> None:
    async with place(tmp_path, variant) as one, served(one.config) as proxy:
        load = Load(proxy, "term", SEED, scenes=PLAIN)
        await load.reached(pieces)
        running = {sent.test_id for sent in load.sent}
        proxy.signal(signal.SIGTERM)
        one.sent = await load.finished()
        assert await proxy.ended == 0
        assert left_open(one) == 0
        assert await one.compared(killed=False) == []
        cut = [
            str(sent)
            for sent in one.sent
            if sent.test_id in running
            and sent.test_id in one.accounts.rows
            and not (sent.left or sent.answer.whole)
        ]
        assert cut == [], "requests that ran when it was told to stop"


async def test_what_outlasts_the_drain_is_cut_and_booked(tmp_path: Path) -> None:
    async with (
        place(tmp_path, drain={"delay": "0s", "timeout": "300ms"}) as one,
        served(one.config) as proxy,
    ):
        load = Load(proxy, "cut", SEED, scenes=ENDLESS)
        await load.reached(300)
        proxy.signal(signal.SIGTERM)
        one.sent = await load.finished()
        assert await proxy.ended == 0
        assert left_open(one) == 0
        assert await one.compared(killed=False) == []
        interrupted = [row for row in one.accounts.rows.values() if row.outcome == "interrupted"]
        assert interrupted and {row.origin for row in interrupted} == {"proxy"}


async def test_a_full_disk_refuses_before_the_upstream_and_loses_nothing(tmp_path: Path) -> None:
    """No file may grow to a segment's size any more: what is allocated can still be written,
    nothing new can be had. SQLite's log hits the bound too."""
    async with place(tmp_path) as one:
        async with served(one.config) as proxy:
            load = Load(proxy, "full", SEED, scenes=(*PLAIN, *ENDLESS[1:]))
            await load.reached(200)
            limit_files(proxy, SEGMENT_BYTES - 1)
            # Each look reads all answers so far: more of them would take the time of the load itself.
            await until(
                lambda: sum(sent.refused == "journal_unavailable" for sent in load.sent) >= 100,
                pause_s=0.1,
            )
            assert await readiness(proxy) == 503
            one.sent = await load.finished()
            assert (await proxy.figures())["tollkeeper_journal_open_exchanges"] == 0
            limit_files(proxy, resource.RLIM_INFINITY)
            async with guard():
                while await readiness(proxy) != 200:
                    await asyncio.sleep(0.01)  # it looks for room again by itself
            load = Load(proxy, "again", SEED, scenes=PLAIN)
            await load.reached(50)
            limit_files(proxy, SEGMENT_BYTES - 1)
            await load.reached(400)
            await proxy.kill()
            one.sent += await load.finished()
        async with served(one.config) as proxy:
            await proxy.drained()
            assert await one.compared(killed=True) == []
            assert one.accounts.tally.refused >= 100
            assert any(
                sent.answer.status == 200 for sent in one.sent if sent.test_id.startswith("again")
            )


@pytest.mark.parametrize("pieces", [150, pytest.param(600, marks=FULL)])
async def test_a_second_process_on_one_directory_gives_its_reason_and_does_no_harm(
    tmp_path: Path, pieces: int
) -> None:
    async with place(tmp_path) as one:
        async with served(one.config) as proxy:
            load = Load(proxy, "two", SEED, scenes=PLAIN)
            await load.reached(100)
            async with served(one.config) as second:
                assert await second.ended == 1
                assert f"in use by process {proxy.pid}" in second.stderr
            await load.reached(pieces)
            await proxy.kill()
            one.sent = await load.finished()
            async with served(one.config) as second:  # the lock went with the process
                await second.drained()
        assert await one.compared(killed=True) == []


# Words of a stream: an event each, then the finish, the usage, [DONE]; a token each, too.
@pytest.mark.parametrize("words", [60, pytest.param(200, marks=FULL)])
@pytest.mark.parametrize("variant", VARIANTS[::3], ids=lambda variant: variant.sync)
async def test_leaving_at_every_position_is_charged_for_what_was_delivered(
    tmp_path: Path, variant: Variant, words: int
) -> None:
    """At once, so in each await before the answer; behind each event of a stream, its usage and its
    [DONE]; in a silence. No restart mends it."""
    async with place(tmp_path, variant) as one, served(one.config) as proxy:
        last: dict[str, int] = {}  # position of each endpoint's stream
        for endpoint in (CHAT, RESPONSES, MESSAGES):
            long, *silent = leaving_scenes(endpoint, words)
            last[endpoint] = len(expected(body(long, random.Random(0)), endpoint).events)
            leavers = [
                leaving(proxy, f"{endpoint} at {number}", long, after_events=number)
                for number in range(1, last[endpoint] + 1)
            ]
            leavers += [
                leaving(proxy, f"{endpoint} early {number}", scene, after_s=number / 2000)
                for number in range(60)
                for scene in [(long, *silent)[number % 4]]
            ]
            leavers += [
                leaving(proxy, f"{endpoint} stalled {number}", silent[1], after_events=number)
                for number in (1, 2, 3)
            ]
            one.sent += await asyncio.gather(*leavers)
        await proxy.drained()
        assert await one.compared(killed=False) == []
        rows = one.accounts.rows
        for endpoint, events in last.items():
            positions = [f"{endpoint} at {number}" for number in range(1, events + 1)]
            assert [name for name in positions if name not in rows] == []
            # On a busy machine many events come in one piece, the last ones with [DONE]: whoever
            # leaves behind that has left a whole answer.
            assert {rows[name].outcome for name in positions} <= {"client_closed", "completed"}
            stalled = {rows[f"{endpoint} stalled {number}"].outcome for number in (1, 2, 3)}
            assert stalled == {"client_closed"}, endpoint
            behind_done = rows[positions[-1]]
            assert (behind_done.outcome, behind_done.output_source, behind_done.output_tokens) == (
                "completed",
                "reported",
                words,
            ), endpoint


def leaving_scenes(endpoint: str, words: int) -> tuple[Scene, ...]:
    """A long stream, and three that say little or nothing."""
    asks = endpoint == CHAT  # a response states its usage unasked
    return (
        Scene("long", f"demo-long:{words}", stream=True, include_usage=asks, endpoint=endpoint),
        # Not as JSON: that is read to its end for a minute, and then charged as what it held.
        Scene("hang", "demo-hang", stream=True, endpoint=endpoint),
        Scene("stall", "demo-stall:3", stream=True, endpoint=endpoint),
        Scene("slow json", "demo-slow:0.3", endpoint=endpoint),
    )


def limit_files(proxy: Proxy, size_bytes: int) -> None:
    """The most that a file of the process may grow to."""
    _, hard = resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


async def readiness(proxy: Proxy) -> int:
    client = await RawClient.connect(proxy.address)
    await client.send(b"GET /readyz HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
    answer = await client.answer()
    await client.aclose()
    return answer.status

"""Several processes on one PostgreSQL and one Valkey, clients that ask them, and what all say.

Each request has a number, which stands in the name of its model; what it used follows from it. So
clients, upstream, ledger and limits can be compared request by request.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import yaml

from tests.cli.process import running as command
from tests.dataplane.test_hold import DONE, PRICES, ask, event
from tests.scenarios.test_instances import place
from tests.scenarios.test_postgresql_ledger import tollkeeper
from tests.support.postgres import PostgresServer, postgres, programs
from tests.support.process import READY
from tests.support.raw import RawAnswer, RawClient, RawUpstream, Visit, raw_upstream
from tests.support.running import KEY, config
from tests.support.valkey import ValkeyServer, free_port, valkey_server
from tests.support.waiting import guard, until

PIECES = 30  # of a long stream
PIECE_S = 0.05
NANO = 1_000_000  # nano-units for an input token; an output token costs twice as much


def used(number: int) -> tuple[int, int]:
    """The input and output tokens that the upstream states for a request."""
    return number % 89 + 1, number % 97 + 1


def number_of(body: bytes) -> int:
    return int(str(json.loads(body)["model"]).rpartition("-")[2])


def stated(body: bytes) -> tuple[int, int] | None:
    """The tokens that an answer states, as its client reads them; None if it states none."""
    for line in reversed(body.splitlines()):
        text = line.removeprefix(b"data: ")
        if text.startswith(b"{") and (usage := json.loads(text).get("usage")):
            return usage["prompt_tokens"], usage["completion_tokens"]
    return None


class Vendor:
    """Answers each request with its own usage; those of m-held wait for `go_on`."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.arrived: Counter[int] = Counter()

    async def answer(self, visit: Visit) -> None:
        number = number_of(visit.body)
        self.arrived[number] += 1
        tokens = dict(zip(("prompt_tokens", "completion_tokens"), used(number), strict=True))
        if b'"stream": true' not in visit.body:
            message = {"message": {"content": "x"}, "finish_reason": "stop"}
            whole = {"id": "c", "model": "m", "choices": [message], "usage": tokens}
            await visit.answer(json.dumps(whole).encode())
            return
        await visit.stream(event("first"), end=False)
        if b"m-held" in visit.body:
            await self.go_on.wait()
        for _ in range(PIECES if b"m-long" in visit.body else 1):
            await asyncio.sleep(PIECE_S)  # the pace of a model, which nothing waits for
            await visit.send(b"%x\r\n%b\r\n" % (len(event("more")), event("more")))
        last = json.dumps({"id": "c", "choices": [], "usage": tokens}).encode()
        rest = b"data: %b\n\n%b" % (last, DONE)
        await visit.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))


class Instance:
    """A process of `tollkeeper serve` with an address that stays, which can be started again."""

    def __init__(self, root: Path, name: str, upstream: str, blocks: dict[str, object]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.directory = place(root, name)
        log = {"format": "json", "requests": "none"}
        given = {"listen": self.address, "log": log, **blocks}
        words = yaml.safe_dump(config(upstream, instance=name, **given))
        (self.directory / "config.yaml").write_text(words)
        self.process: subprocess.Popen[str]

    @contextmanager
    def running(self) -> Iterator[None]:
        with command("serve", "-c", "config.yaml", cwd=self.directory, ready=READY) as started:
            self.process = started[0]
            yield

    async def stop(self) -> None:
        """SIGTERM; waits for the end, which must be in order."""
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait) == 0


@dataclass
class Load:
    """What clients asked, one after the other over connections that they keep, and what they got.

    `failed`: requests without a whole answer, and why. `statuses`: of the others.
    """

    addresses: list[str]
    key: str = KEY
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    served: dict[int, tuple[int, int] | None] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    refused_connects: int = 0
    ended: bool = False

    async def connect(self, turn: int) -> RawClient:
        """To the next address; a connection that is refused has sent nothing, so it may go on."""
        for step in count(turn):
            try:
                return await RawClient.connect(self.addresses[step % len(self.addresses)])
            except ConnectionRefusedError:
                self.refused_connects += 1
                assert step < turn + 1000, "no instance takes connections"
                await asyncio.sleep(PIECE_S * (step > turn + len(self.addresses)))
        raise AssertionError

    async def client(self, place: int) -> None:
        """One request after the other until `ended`; JSON, short and long streams in turn."""
        connection: RawClient | None = None
        turn = place
        while not self.ended:
            number = next(self.numbers)
            turn += 1
            if connection is None or connection.reader.at_eof():
                connection = await self.connect(turn)
            kind = ("m", "m", "m-short", "m-long")[number % 4]
            answer = await self.one(connection, number, kind, stream=kind != "m")
            if answer is None or answer.header("connection") == b"close":
                await connection.aclose()
                connection = None
        if connection is not None:
            await connection.aclose()

    async def one(
        self, connection: RawClient, number: int, kind: str = "m", stream: bool = False
    ) -> RawAnswer | None:
        """One request; None if it has failed."""
        more = {"stream_options": {"include_usage": True}} if stream else {}
        try:
            await connection.post(ask(f"{kind}-{number}", stream=stream, **more), key=self.key)
            answer = await connection.answer()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.failed.append(f"{kind}-{number}: {error!r}")
            return None
        if not answer.whole:
            self.failed.append(f"{kind}-{number}: cut after {answer.body[-80:]!r}")
            return None
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.served[number] = stated(answer.body)
        return answer

    async def alone(self, number: int, kind: str = "m", stream: bool = False) -> int:
        """The status of one request on a connection of its own; 0 if it has failed."""
        connection = await RawClient.connect(self.addresses[number % len(self.addresses)])
        answer = await self.one(connection, number, kind, stream)
        await connection.aclose()
        return 0 if answer is None else answer.status


@asynccontextmanager
async def under_load(load: Load, clients: int) -> AsyncIterator[None]:
    """So many clients ask meanwhile; at the end each finishes what it asked."""
    tasks = [asyncio.create_task(load.client(place)) for place in range(clients)]
    try:
        yield
    finally:
        load.ended = True
        await asyncio.gather(*tasks)


class Shared:
    """The stores that all share, and what stands in them."""

    def __init__(self, database: PostgresServer, quota: ValkeyServer) -> None:
        self.database, self.quota = database, quota
        self.url = database.database()

    def blocks(self, *limits: object, **more: object) -> dict[str, object]:
        return {
            "ledger": {"url": self.url},
            "quota": {"url": self.quota.url, "timeout": "30s"},
            "prices": PRICES,
            "teams": {"research": {"limits": list(limits)}},
            **more,
        }

    def booked(self) -> list[tuple[int, int, int, int]]:
        """Of each record: number, input and output tokens, cost in nano-units."""
        asked = "SELECT model_requested, input_tokens, output_tokens, cost_nano FROM records"
        rows = self.database.sql(asked, self.url.rpartition("/")[2])
        return sorted((int(row[0].rpartition("-")[2]), *map(int, row[1:])) for row in rows)

    async def agrees(self, loads: Iterable[Load], vendor: Vendor, directory: Path | None) -> int:
        """Ledger, upstream and clients say the same, and the limit of `directory`; returns how many."""
        served = {number: tokens for load in loads for number, tokens in load.served.items()}
        assert all(tokens == used(number) for number, tokens in served.items())
        assert vendor.arrived == Counter(served.keys()), "each was sent once, and is answered"
        await until(lambda: len(self.booked()) >= len(served), 0.1)
        right = [(n, i, o, NANO * (i + 2 * o)) for n, (i, o) in ((n, used(n)) for n in served)]
        assert self.booked() == sorted(right), "each is booked once, as its client saw it"
        if directory is None:
            return len(served)
        async with guard():
            while (found := await asyncio.to_thread(counted, directory)) != (len(served), 0):
                assert found[0] + found[1] <= len(served), found
        return len(served)


def counted(directory: Path) -> tuple[int, int]:
    """What the team's limit on requests says is used and held."""
    found = json.loads(tollkeeper(directory, "limit", "list", "-c", "config.yaml", "--json"))
    [one] = [row for row in found if row["id"] == "team:research/requests/day"]
    return int(one["used"]), int(one["held"])


@asynccontextmanager
async def world(
    root: Path, names: str, *limits: object, own: bool = False, **more: object
) -> AsyncIterator[tuple[Shared, list[Instance], Vendor, AsyncExitStack]]:
    """Both stores (`own`: a PostgreSQL that may be killed), an upstream, a process for each name.

    The stack ends the processes, and may take on more of them.
    """
    (root / "valkey").mkdir()
    vendor = Vendor()
    async with AsyncExitStack() as stack:
        database = PostgresServer(programs()) if own else postgres()
        if own:
            stack.callback(database.remove)
        shared = Shared(database, stack.enter_context(valkey_server(root / "valkey")))
        upstream: RawUpstream = await stack.enter_async_context(raw_upstream(vendor.answer))
        blocks = shared.blocks(*limits, **more)
        found = [Instance(root, name, upstream.url, blocks) for name in names]
        for one in found:
            stack.enter_context(one.running())
        yield shared, found, vendor, stack


def strict(amount: int) -> dict[str, str]:
    return {"limit": f"{amount} requests/day", "enforce": "strict"}

"""Measures the quota on Valkey beside PING, by hand: `.venv/bin/python -m tests.bench.quota`.

One process asks a server on the same machine. A pair is one reserve and one settle.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles
from zoneinfo import ZoneInfo

import msgspec
import uvloop

from proxy.core.entries import Opened
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.rules import LimitSet
from proxy.core.limits.state import Refused
from proxy.quota import Quota, SharedOptions, connect
from proxy.quota.valkey.pipeline import Pipeline, fields
from proxy.quota.valkey.store import SharedQuota
from tests.quota.valkey.shared import built
from tests.quota.worlds import limit
from tests.support.valkey import ValkeyServer, valkey_server

ONE_BY_ONE = 3_000
AT_ONCE = 64
PAIRS = 12_000
KINDS = (
    "60_000_000 requests/minute",
    "900_000_000_000 tokens/minute",
    "90_000_000 concurrent",
    "900_000_000 USD/month",
)
Step = Callable[[], Awaitable[object]]


def limits(count: int) -> LimitSet:
    """So many limits, of four kinds: a quarter of them count requests that flow, a quarter tokens."""
    return LimitSet(
        limit(KINDS[number % 4], whose=f"team:t{number // 4}") for number in range(count)
    )


async def spread(step: Step) -> str:
    """Median and 99th percentile of single steps, in microseconds."""
    took: list[float] = []
    for _ in range(ONE_BY_ONE):
        began = time.perf_counter()
        await step()
        took.append((time.perf_counter() - began) * 1e6)
    cuts = quantiles(took, n=100)
    return f"{cuts[49]:.0f} / {cuts[98]:.0f}"


OPENED = Opened(
    "",
    0,
    "research-bot",
    "research",
    endpoint="/v1/chat/completions",
    dialect="openai_chat",
    upstream="openai",
    model_requested="gpt-4o-mini",
    bytes_in=5_000,
    input_estimate=900,
)


class Asking:
    """Requests with these limits."""

    def __init__(self, quota: Quota, mine: LimitSet | tuple[Limit, ...]) -> None:
        self.quota = quota
        self.limits = mine
        self.count = 0

    async def reserve(self) -> object:
        self.count += 1
        now_ms = time.time_ns() // 1_000_000
        id = f"0192f0c0-0000-7000-8000-{self.count:012}"
        ask = Demand(
            exchange_id=id,
            started_at_ms=now_ms,
            input_tokens=900,
            output_tokens=800,
            charge_nano=4_000_000,
            opened=msgspec.structs.replace(OPENED, id=id, started_at_ms=now_ms),
        )
        held = await self.quota.reserve(self.limits, ask, now_ms)
        assert not isinstance(held, Refused)
        return held

    async def pair(self) -> None:
        held = await self.reserve()
        used = Used(input_tokens=880, output_tokens=300, charge_nano=2_000_000)
        self.quota.settle(held, used, time.time_ns() // 1_000_000)  # type: ignore[arg-type]

    async def pairs(self, server: ValkeyServer) -> tuple[float, float, float]:
        """Pairs a second, and for one the server's CPU and ours in microseconds."""
        left = iter(range(PAIRS))

        async def one() -> None:
            for _ in left:
                await self.pair()

        began, cpu, theirs_s = time.perf_counter(), time.process_time(), cpu_s(server)
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        await self.quota.flush()
        took, used = time.perf_counter() - began, time.process_time() - cpu
        theirs_s = cpu_s(server) - theirs_s
        return PAIRS / took, theirs_s / PAIRS * 1e6, used / PAIRS * 1e6


def cpu_s(server: ValkeyServer) -> float:
    """What the server has used of a core so far."""
    told = fields(server.ask("INFO", "cpu"))
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


async def measure(server: ValkeyServer) -> None:
    _, wire = await asyncio.get_running_loop().create_connection(
        lambda: Pipeline(lambda reason: None), "127.0.0.1", server.port
    )
    print("| | alone, p50 / p99 µs | pairs/s, 64 waiting | CPU of a pair, µs: server / ours |")
    print("|---|---|---|---|")
    for count in (1, 4, 16):
        server.ask("FLUSHALL")
        options = SharedOptions(instance="bench", timeout_s=30.0)
        quota = await connect(server.url, ZoneInfo("UTC"), options=options)
        assert isinstance(quota, SharedQuota)
        await built(quota, time.time_ns() // 1_000_000)
        asking = Asking(quota, limits(count))
        ping = await spread(lambda: wire.call(b"PING"))
        print(f"| PING | {ping} | | |")
        alone = await spread(asking.reserve)
        rate, theirs, ours = await asking.pairs(server)
        print(f"| {count} limits | {alone} | {rate:,.0f} | {theirs:.0f} / {ours:.0f} |", flush=True)
        await quota.aclose()
    wire.close()


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        valkey_server(Path(directory)) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(measure(server))


if __name__ == "__main__":
    main()

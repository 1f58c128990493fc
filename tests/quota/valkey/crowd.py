"""One of many processes that ask one store at once: orders come as lines, answers go out as lines.

An order is {"round", "k", "asks"}, and the answer how many were let through; after {} they end,
and the answer is what they used.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from zoneinfo import ZoneInfo

from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.limit import Limit
from proxy.core.limits.state import Refused
from proxy.quota import Quota, Reservation, SharedOptions, connect
from proxy.quota.valkey.store import SharedQuota
from tests.quota.valkey.shared import built
from tests.quota.worlds import limit

NOW_MS = 1_900_000_000_000
BOUND = 900  # the most that a request may use


def limits_of(number: int, k: int) -> list[Limit]:
    """Four kinds of limits; in each round another lets exactly k through."""
    tight = number % 4
    texts = [
        (f"{k if tight == 0 else 9000} requests/day", "finish"),
        (f"{k if tight == 1 else 9000} requests/hour", "cut"),
        (f"{k if tight == 2 else 9000} concurrent", "finish"),
        (f"{k * BOUND if tight == 3 else 90_000_000} tokens/month", "strict"),
    ]
    return [limit(text, enforce, f"team:r{number}") for text, enforce in texts]


async def rush(quota: Quota, name: str, order: dict[str, int]) -> list[Reservation]:
    """Ask so often at once; what was let through."""
    dice = random.Random(f"{name} {order['round']}")
    limits = limits_of(order["round"], order["k"])
    held: list[Reservation] = []

    async def one(number: int) -> None:
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        ask = Demand(
            exchange_id=f"{name}-{order['round']}-{number}",
            started_at_ms=NOW_MS,
            output_tokens=300,
            input_bound=0,
            output_bound=BOUND,
        )
        answer = await quota.reserve(limits, ask, NOW_MS)
        if not isinstance(answer, Refused):
            held.append(answer)

    await asyncio.gather(*(one(number) for number in range(order["asks"])))
    return held


async def end(quota: Quota, name: str, held: list[Reservation]) -> int:
    """End all, some of them twice; the tokens that were used."""
    dice = random.Random(f"{name} {len(held)}")
    used = 0
    for reservation in held:
        tokens = dice.randint(0, BOUND)
        used += tokens
        quota.settle(reservation, Used(output_tokens=tokens), NOW_MS)
        if dice.random() < 0.2:
            quota.settle(reservation, Used(output_tokens=10**9), NOW_MS)
    await quota.flush()
    return used


async def main(url: str, name: str) -> None:
    options = SharedOptions(instance=name, timeout_s=60.0)
    quota = await connect(url, ZoneInfo("UTC"), options=options)
    assert isinstance(quota, SharedQuota)
    await built(quota, NOW_MS)
    print("ready", flush=True)
    held: list[Reservation] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if order:
            held = await rush(quota, name, order)
            print(len(held), flush=True)
        else:
            print(await end(quota, name, held), flush=True)
    await quota.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""Nothing leaks and nothing is lost: after any mixture of requests, ledger + credits = counters,
for every kind of limit; a start counts them anew from the book.

What the counters should say is worked out from the ledger's rows by `tests/support/recount.py`,
which knows nothing of the proxy.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from pathlib import Path

import pytest
import yaml

from proxy.accounting.rerating import Rerated
from proxy.admin.limits import CreditAnswer, credit_path
from proxy.admin.prices import RERATE_PATH
from proxy.cli import admin_client
from proxy.core.limits.state import LimitState
from tests.support.crowds import Asked, Heard, Vendor, anybody, guest
from tests.support.raw import raw_upstream
from tests.support.recount import NANO, PRICES, Rule, midday_zone
from tests.support.running import Running, config, running
from tests.support.waiting import guard, until
from tests.support.wires import APIS

pytestmark = pytest.mark.whole

SLOTS = 40  # and so many come at once
# of a rate with room for so many, one unit an hour comes back: none while a test looks
SLOW = 10_000_000
KEYS = {"alice": "research", "bob": "research", "carol": "sales"}
CREDITS = {"trial": 1500, "proxy-money": NANO // 7, "research-money": -1}
UPSTREAMS = ("mock", "other", "dead")
IN_LINE = {
    "connections_max": 6,
    "timeouts": {"pool": "60s"},
}  # who wants the seventh waits for it, or leaves the line


def rules(requests: int) -> list[Rule]:
    """Each unit, each period, each mode, each scope, some for some models; a few are used up on the
    way."""
    return [
        Rule("proxy-requests", 10**9, "requests", "month", "warn", "proxy"),
        Rule("proxy-money", 10 * NANO, "USD", "total", "warn", "proxy"),
        Rule("proxy-rate", 1, "requests", "hour", "finish", "proxy", burst=SLOW),
        Rule("proxy-a", 10**9, "tokens", "total", "finish", "proxy", "m-a"),
        Rule("other-input", 10**9, "input_tokens", "week", "cut", "upstream:other"),
        Rule("research-money", 10**6 * NANO, "USD", "month", "strict", "team:research"),
        Rule("research-output", 150 * requests, "output_tokens", "day", "cut", "team:research"),
        Rule("research-rate", 1, "tokens", "hour", "finish", "team:research", burst=100 * SLOW),
        Rule("slots", SLOTS, "concurrent", scope="team:research"),
        Rule("alice-day", 10**9, "requests", "day", "strict", "key:alice"),
        Rule("alice-week", 10**9, "tokens", "week", "strict", "key:alice"),
        Rule("alice-rate", 1, "output_tokens", "hour", "strict", "key:alice", burst=10 * SLOW),
        Rule("bob-b", 10**9, "tokens", "month", "warn", "key:bob", "m-b"),
        Rule("trial", 30 * requests, "tokens", "total", "finish", "key:carol"),
        Rule("carol-requests", requests // 5, "requests", "week", "cut", "key:carol"),
    ]  # fmt: skip


def settings(url: str, limits: list[Rule], input_price: str) -> dict[str, object]:
    def of(scope: str) -> list[dict[str, object]]:
        return [rule.config() for rule in limits if rule.scope == scope]

    return config(
        url,
        limits=of("proxy"),
        upstreams={
            name: {
                "base_url": "http://127.0.0.1:9/v1" if name == "dead" else url,
                "api_key": "sk",
                "apis": APIS,
                "limits": of(f"upstream:{name}"),
                **(IN_LINE if name == "other" else {}),
            }
            for name in UPSTREAMS
        },
        routes=[
            {"model": "m-b*", "upstream": "other"},
            {"model": "m-d*", "upstream": "dead"},
            {"model": "*", "upstream": "mock"},
        ],
        teams={team: {"limits": of(f"team:{team}")} for team in ("research", "sales")},
        keys={
            key: {"team": team, "secret": f"sk-{key}", "limits": of(f"key:{key}")}
            for key, team in KEYS.items()
        },
        prices=[{**PRICES[0], "input": input_price}],
        timezone=midday_zone(),
        log={"requests": "none"},
    )


def somebody(dice: random.Random, number: int, leaving: float) -> tuple[str, Asked]:
    """Who asks, and for what. The vendor keeps to its bounds."""
    cap = dice.randint(1, 400)
    asked = anybody(
        dice,
        number,
        cap=cap,
        input_max=400,
        output_max=cap,
        leaving=leaving,
        family=dice.choice("aaabbbcccd"),
    )
    return dice.choice(list(KEYS)), dataclasses.replace(
        asked, ending="unreachable"
    ) if asked.family == "d" else asked


async def over(proxy: Running) -> list[dict[str, object]]:
    """Waits until nothing runs and everything is booked; the rows."""
    services = proxy.server.services
    await until(
        lambda: (
            not (
                services.inflight.count or proxy.server.open_exchanges or services.recorder.backlog
            )
        )
    )
    return proxy.rows()


async def counters(proxy: Running) -> dict[str, LimitState]:
    states = await proxy.server.services.quota.states(
        proxy.server.snapshot.rules.configured(), proxy.server.services.now_ms()
    )
    return {state.limit.id: state for state in states}


async def add_up(proxy: Running, limits: list[Rule], credits: dict[str, int]) -> None:
    """Ledger + credits = counters, and nothing is held."""
    rows = await over(proxy)
    found = await counters(proxy)
    assert set(found) == {rule.name for rule in limits}
    for rule in limits:
        state, used, granted = found[rule.name], rule.used(rows), credits.get(rule.name, 0)
        room = rule.amount if rule.burst is None else rule.burst
        assert (state.used, state.held, state.granted, state.remaining) == (
            used,
            0,
            granted,
            max(0, room + granted - used),
        ), (rule, state)


async def send(
    proxy: Running, vendor: Vendor, wanted: list[tuple[str, Asked]], heard: Counter[Heard]
) -> None:
    """As many at once as there are slots; the next when all are free again."""
    for start in range(0, len(wanted), SLOTS):
        batch = wanted[start : start + SLOTS]
        vendor.asked |= {asked.number: asked for _, asked in batch}
        heard.update(
            await asyncio.gather(
                *(guest(proxy.address, asked, vendor.gate, f"sk-{key}") for key, asked in batch)
            )
        )
        async with guard():
            while (await counters(proxy))["slots"].used:
                await asyncio.sleep(0.002)


async def asked_of(proxy: Running, path: str, order: dict[str, object], answer: type) -> object:
    process = admin_client.running(proxy.data_dir, {})
    assert process is not None
    return await asyncio.to_thread(admin_client.ask, process, "POST", path, order, type=answer)


async def rerated(proxy: Running) -> int:
    """All of the book, stretch by stretch; how many records were adjusted."""
    adjusted, order = 0, {"dry_run": False}
    while True:
        done = await asked_of(proxy, RERATE_PATH, order, Rerated)
        assert isinstance(done, Rerated)
        adjusted += done.verdicts["adjusted"]
        if done.next is None:
            return adjusted
        order |= {"after": done.next, "through": done.through, "price_version": done.price_version}


def told(heard: Counter[Heard]) -> str:
    return ", ".join(f"{count} {kind.value}" for kind, count in heard.items())


async def mixture(directory: Path, requests: int) -> None:
    """Three starts over one ledger, credits, and prices that change for what is booked."""
    dice = random.Random(requests)
    limits = rules(requests)
    vendor = Vendor({})
    vendor.gate.set()
    wanted = [somebody(dice, number, leaving=0.3) for number in range(requests)]
    heard: Counter[Heard] = Counter()
    async with raw_upstream(vendor) as upstream:
        async with running(directory, settings(upstream.url, limits, "2.7")) as proxy:
            await send(proxy, vendor, wanted[: requests // 2], heard)
            await add_up(proxy, limits, {})
            for name, amount in CREDITS.items():
                order = {
                    "amount": f"{amount / NANO:.9f}" if "money" in name else str(amount),
                    "reason": "a test",
                }
                await asked_of(proxy, credit_path(name), order, CreditAnswer)
            await add_up(proxy, limits, CREDITS)
        async with running(directory, settings(upstream.url, limits, "2.7")) as proxy:
            await add_up(proxy, limits, CREDITS)
            await send(proxy, vendor, wanted[requests // 2 :], heard)
            await add_up(proxy, limits, CREDITS)
            (directory / "config.yaml").write_text(
                yaml.safe_dump(settings(upstream.url, limits, "1.3"))
            )
            await proxy.server.reload()
            assert await rerated(proxy) > requests // 3
            await add_up(proxy, limits, CREDITS)
        async with running(directory, settings(upstream.url, limits, "1.3")) as proxy:
            await add_up(proxy, limits, CREDITS)
            outcomes = Counter(
                str(row["outcome"]) for row in await over(proxy) if row["kind"] == "usage"
            )
    assert min(heard.values()) > requests // 20 and set(heard) == set(Heard), heard
    assert set(outcomes) >= {
        "completed",
        "client_closed",
        "rejected_upstream",
        "upstream_failed",
    }, outcomes
    print(
        f"{requests} requests: {told(heard)}; {len(vendor.arrived)} reached the vendor: {dict(outcomes)}"
    )


async def test_ledger_and_credits_are_the_counters(tmp_path: Path) -> None:
    await mixture(tmp_path, 800)


@pytest.mark.campaign
@pytest.mark.parametrize("requests", [20_000])
async def test_after_twenty_thousand_requests_ledger_and_credits_are_the_counters(
    tmp_path: Path, requests: int
) -> None:
    await mixture(tmp_path, requests)


async def aborted(directory: Path, requests: int) -> None:
    """Clients that leave, all of them, at any point; vendors that fail. Then every slot is free and
    nothing is held, and so many find a place again."""
    dice = random.Random(requests)
    limits = [
        dataclasses.replace(rule, enforce="warn")
        if rule.name in ("trial", "research-output", "carol-requests")
        else rule
        for rule in rules(requests)
    ]
    limits = [
        dataclasses.replace(rule, scope="proxy") if rule.name == "slots" else rule
        for rule in limits
    ]
    vendor = Vendor({})
    vendor.gate.set()
    heard: Counter[Heard] = Counter()
    async with (
        raw_upstream(vendor) as upstream,
        running(directory, settings(upstream.url, limits, "2.7")) as proxy,
    ):
        await send(
            proxy,
            vendor,
            [somebody(dice, number, leaving=1.0) for number in range(requests)],
            heard,
        )
        assert not heard[Heard.REFUSED], f"{heard}: a slot that is free was not given"
        await add_up(proxy, limits, {})
        vendor.gate.clear()
        crowd = [
            anybody(
                dice,
                requests + number,
                cap=9,
                input_max=9,
                output_max=9,
                leaving=0.0,
                ending="whole",
            )
            for number in range(SLOTS + 1)
        ]
        vendor.asked |= {asked.number: asked for asked in crowd}
        reached = len(vendor.arrived)
        last = [
            asyncio.create_task(guest(proxy.address, asked, vendor.gate, "sk-bob"))
            for asked in crowd
        ]
        while len(vendor.arrived) - reached + sum(task.done() for task in last) <= SLOTS:
            await asyncio.sleep(0.002)
        vendor.gate.set()
        assert Counter(await asyncio.gather(*last)) == {Heard.SERVED: SLOTS, Heard.REFUSED: 1}
        await add_up(proxy, limits, {})
    assert len(vendor.arrived) - reached == SLOTS and reached < requests * 0.95, (
        "some left before anything was sent"
    )
    print(f"{requests} requests: {told(heard)}; {reached} reached the vendor")


async def test_aborted_requests_leak_no_slot_and_no_hold(tmp_path: Path) -> None:
    await aborted(tmp_path, 600)


@pytest.mark.campaign
@pytest.mark.parametrize("requests", [10_000])
async def test_ten_thousand_aborted_requests_leak_no_slot_and_no_hold(
    tmp_path: Path, requests: int
) -> None:
    await aborted(tmp_path, requests)

"""Every quota store beside an oracle, in random histories."""

from __future__ import annotations

import importlib
import pkgutil
import random

import pytest

from proxy import quota as package
from proxy.core.limits.state import Refused
from proxy.quota import Reservation
from tests.quota.histories import history
from tests.quota.stores import KINDS, Store
from tests.quota.worlds import limit, world


def test_each_store_is_held_to_the_contract() -> None:
    """A store is a module of `proxy.quota` that can `connect`."""
    found = {
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if hasattr(importlib.import_module(f"proxy.quota.{module.name}"), "connect")
    }
    assert found == set(KINDS)


async def histories(store: Store, seeds: range) -> None:
    for seed in seeds:
        told = await history(store, seed, random.Random(seed).choice((10, 30, 60)))
        await told.restart()
        await told.compare()


@pytest.mark.parametrize("block", range(10))
async def test_histories_against_the_oracle(store: Store, block: int) -> None:
    await histories(store, range(block * 40, block * 40 + 40))


@pytest.mark.campaign
async def test_five_thousand_histories_against_the_oracle(store: Store) -> None:
    await histories(store, range(5000))


@pytest.mark.parametrize("seed", range(20))
async def test_looking_tells_what_a_request_would_hear_and_takes_nothing(
    store: Store, seed: int
) -> None:
    dice = random.Random(seed)
    here = await world(store)
    rules = (
        "2 requests/minute",
        "3 concurrent",
        "90 tokens/day",
        "60 output_tokens/hour",
        "0 requests/day",
    )
    limits = [
        limit(text, dice.choice(("finish", "cut", "strict", "warn")))
        for text in rules[: dice.choice((4, 4, 5))]
    ]
    running: list[Reservation] = []
    heard = set()
    for _ in range(30):
        mine = dice.sample(limits, dice.randint(1, len(limits)))
        output = dice.choice((0, 5, 70))
        before = [await here.state(one) for one in limits]
        looked = await here.look(mine, output, most=output)
        assert [await here.state(one) for one in limits] == before
        answer = await here.ask(mine, output, most=output)
        heard.add(type(answer))
        if isinstance(answer, Refused):
            assert looked == answer
        else:
            assert looked is None
            running.append(answer)
        if running and dice.random() < 0.4:
            here.end(running.pop(), dice.choice((0, 5, 40)))
        here.clock.now_ms += dice.choice((0, 100, 40_000))
    assert len(heard) == 2 or any(one.amount == 0 for one in limits)

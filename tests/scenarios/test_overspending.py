"""I4 through real HTTP: of 200 requests at once a limit lets exactly as many through as it has room
for, and nothing is spent beyond what is promised.

A round has three parts. First 200 come at once while the vendor keeps silent: exactly k arrive
there, the others are told so. Then all are answered, each with
a use of its own, some clients leave, and in every other round more requests come in between. At the
end ten come one after the other, each let through or
refused as an accountant says (`tests/support/recount.py`) who knows the ledger's rows and no
counter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.crowds import BODY_BYTES, Asked, Fate, Heard, Vendor, anybody, guest
from tests.support.raw import raw_upstream
from tests.support.recount import (
    DISCOUNTED,
    MARKED_UP,
    OVERHEAD_TOKENS,
    PRICES,
    Row,
    Rule,
    charged_right,
    midday_zone,
)
from tests.support.running import KEY, Running, config, running
from tests.support.waiting import guard, until
from tests.support.wires import APIS

pytestmark = pytest.mark.whole

AT_ONCE, LATER, LAST = 200, 60, 10
K_MAX = 100
K_WORTH = 20
RATE_K_MAX = 20  # one more an hour comes back only after three minutes
OUTPUT_MAX = 3000  # three times what is expected, of a vendor that nothing caps
SCOPES = ("proxy", "upstream:mock", "team:research", "key:alice")
BUDGETS = ("requests", "tokens", "input_tokens", "output_tokens", "USD")
KINDS = [
    *((unit, enforce) for unit in ("requests", "tokens", "USD") for enforce in ("finish", "cut", "strict")),
    ("output_tokens", "strict"), ("input_tokens", "finish"), ("concurrent", "finish"), ("requests/hour", "strict"), ("requests/hour", "finish"),
    ("tokens/hour", "strict"), ("four", "mixed"), ("four", "strict"), ("four", "mixed"),
]  # fmt: skip
HEADINGS = "| limit | rounds | requests | reached the vendor | refused | left unheard | outcomes | over strict and requests | rounds beyond | of the bound | of the limit |"


@dataclass
class Figures:
    """What rounds came to. `over`: what was used beyond limits that promise 0. `beyond`: what was
    used beyond the others, as a share of what is stated for them at
    most, and of limits with room for `K_WORTH` or more as a share of the limit."""

    rounds: int = 0
    asked: int = 0
    arrived: int = 0
    refused: int = 0
    left: int = 0
    over: int = 0
    beyond: list[float] = field(default_factory=list)
    beyond_limit: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        most, of_limit = (max(shares, default=0.0) for shares in (self.beyond, self.beyond_limit))
        return (
            f"| {self.rounds} | {self.asked} | {self.arrived} | {self.refused} | {self.left} | {', '.join(f'{name} {count}' for name, count in sorted(self.outcomes.items()))} "
            f"| {self.over} | {sum(share > 0 for share in self.beyond)} of {len(self.beyond)} | {most:.2f} | {of_limit:.2f} |"
        )

    def add(self, other: Figures) -> None:
        for name in ("rounds", "asked", "arrived", "refused", "left", "over"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.beyond += other.beyond
        self.beyond_limit += other.beyond_limit
        self.outcomes += other.outcomes


class Round:
    """One limit, or four at once, with room for exactly k."""

    def __init__(self, kind: tuple[str, str], seed: int) -> None:
        self.dice = dice = random.Random(f"{kind}/{seed}")
        unit, enforce = kind
        self.again = dice.random() < 0.5  # more come while the first are answered
        self.k = dice.randint(1, RATE_K_MAX if "/" in unit else K_MAX)
        self.capped = "strict" in enforce or "mixed" in enforce or dice.random() < 0.3
        self.cap = dice.randint(20, 300) if self.capped else None
        self.rules = (
            self._four(enforce)
            if unit == "four"
            else [self._rule("only", unit, enforce, self.k, dice.choice(SCOPES))]
        )
        self.rate = "/" in unit
        self.asked = {
            number: self._anybody(number, self.cap, BODY_BYTES) for number in range(AT_ONCE)
        }
        sizes = [4 * dice.randint(35, 100) for _ in range(LATER + LAST)]
        caps = [dice.randint(1, 400) if self.capped else None for _ in sizes]
        for number, (size, cap) in enumerate(zip(sizes, caps, strict=True), AT_ONCE):
            self.asked[number] = self._anybody(
                number, cap, size, leaving=0.4 if number < AT_ONCE + LATER else 0.0
            )

    def _anybody(
        self, number: int, cap: int | None, body_bytes: int, leaving: float = 0.4
    ) -> Asked:
        """Where a limit is strict the vendor keeps to its bounds; else it bills what it likes."""
        input_max, output_max = (
            (body_bytes + OVERHEAD_TOKENS, cap) if cap is not None else (2 * body_bytes, OUTPUT_MAX)
        )
        assert output_max is not None
        return anybody(
            self.dice,
            number,
            cap=cap,
            input_max=input_max,
            output_max=output_max,
            leaving=leaving,
            body_bytes=body_bytes,
        )

    def _rule(self, name: str, unit: str, enforce: str, k: int, scope: str) -> Rule:
        """With room for exactly k requests of the first kind."""
        unit, _, per = unit.partition("/")
        if not per and unit != "concurrent":
            per = self.dice.choice(["day", "week", "month", "total"])
        rule = Rule(name, 0, unit, per, enforce, scope)
        hold = rule.hold(BODY_BYTES, self.cap)
        amount = (
            k * hold + self.dice.randrange(hold)
            if rule.strict
            else (k - 1) * hold + 1 + self.dice.randrange(hold)
        )
        return Rule(name, amount, unit, per, enforce, scope)

    def _four(self, enforce: str) -> list[Rule]:
        """One of each scope; at least one of them has room for k, the others for k or more."""
        ks = [self.k, *(self.k + self.dice.choice([0, 3, 40]) for _ in SCOPES[1:])]
        units = self.dice.sample([*BUDGETS, "concurrent"], len(SCOPES))
        self.dice.shuffle(ks)
        modes = [
            enforce if enforce != "mixed" else self.dice.choice(["finish", "cut", "strict"])
            for _ in SCOPES
        ]
        return [
            self._rule(scope.partition(":")[0], unit, mode, k, scope)
            for scope, unit, mode, k in zip(SCOPES, units, modes, ks, strict=True)
        ]

    def rule(self, name: str) -> Rule:
        return next(rule for rule in self.rules if rule.name == name)

    def config(self, url: str) -> dict[str, object]:
        limits = {
            scope: [rule.config() for rule in self.rules if rule.scope == scope] for scope in SCOPES
        }
        upstream = {
            "base_url": url,
            "api_key": "sk-upstream",
            "apis": APIS,
            "limits": limits["upstream:mock"],
            **DISCOUNTED,
        }
        return config(
            url, limits=limits["proxy"], upstreams={"mock": upstream}, teams={"research": {"limits": limits["team:research"], **MARKED_UP}},
            keys={"alice": {"team": "research", "secret": KEY, "limits": limits["key:alice"]}}, prices=PRICES, timezone=midday_zone(), log={"requests": "none"},
        )  # fmt: skip


async def over(proxy: Running) -> list[dict[str, object]]:
    """Waits until nothing runs and everything is booked; the rows."""
    parts = proxy.server.services
    await until(
        lambda: not (parts.inflight.count or proxy.server.open_exchanges or parts.recorder.backlog)
    )
    return proxy.rows()


async def play(directory: Path, kind: tuple[str, str], seed: int, figures: Figures) -> None:
    told = f"{kind}, seed {seed}"
    this = Round(kind, seed)
    began_s = time.monotonic()

    async def arrival(_: Asked) -> None:
        """At each arrival no promise is broken."""
        quota = proxy.server.services.quota
        for state in await quota.states(quota.limits(), proxy.server.services.now_ms()):
            rule = this.rule(state.limit.id)
            if rule.strict and not this.rate:
                assert state.used + state.held <= rule.amount, f"{told}: {state}"

    vendor = Vendor(this.asked, arrival)
    async with (
        raw_upstream(vendor) as upstream,
        running(directory, this.config(upstream.url)) as proxy,
        guard(),
    ):
        crowd = [
            asyncio.create_task(guest(proxy.address, this.asked[number], vendor.gate))
            for number in range(AT_ONCE)
        ]
        with contextlib.ExitStack() as opening:
            opening.callback(vendor.gate.set)
            while len(vendor.arrived) + sum(task.done() for task in crowd) < AT_ONCE:
                await asyncio.sleep(0.002)
            assert len(vendor.arrived) == this.k, (
                f"{told}: {len(vendor.arrived)} of {AT_ONCE} were let through instead of {this.k}"
            )
        if this.again:
            crowd += [
                asyncio.create_task(guest(proxy.address, this.asked[number], vendor.gate))
                for number in range(AT_ONCE, AT_ONCE + LATER)
            ]
        heard = await asyncio.gather(*crowd)
        rows = await over(proxy)
        first = _recount(this, vendor, rows, told)
        if not this.again:
            for rule in this.rules:
                excess, holds = first[rule.name]
                assert rule.strict or excess <= holds + rule.hold(BODY_BYTES, this.cap), (
                    f"{told}: {rule} beyond by {excess}"
                )
        for number in range(AT_ONCE + LATER, AT_ONCE + LATER + LAST):
            asked = this.asked[number]
            due = all(
                rule.admits(rule.used(rows), rule.hold(asked.body_bytes, asked.cap))
                for rule in this.rules
            )
            heard.append(await guest(proxy.address, asked, vendor.gate))
            rows = await over(proxy)
            if this.rate:
                continue  # it flows while we look
            assert (heard[-1] is Heard.SERVED) == due, (
                f"{told}: {asked} was {heard[-1]} although the ledger has {[(rule, rule.used(rows)) for rule in this.rules]}"
            )
        seconds = time.monotonic() - began_s
        _judge(this, rows, seconds, told, figures)
        quota = proxy.server.services.quota
        for state in await quota.states(quota.limits(), proxy.server.services.now_ms()):
            rule = this.rule(state.limit.id)
            assert this.rate or (state.used, state.held) == (rule.used(rows), 0), f"{told}: {state}"
        _account(vendor, heard, rows, figures)


def _recount(
    this: Round, vendor: Vendor, rows: list[dict[str, object]], told: str
) -> dict[str, tuple[int, int]]:
    """Row by row: each is of a request that was sent, and says what its vendor said. By limit: what
    was used beyond it, and by how much more than was held."""
    by_number = {int(str(row["model_requested"]).removeprefix("m-")): row for row in rows}
    assert len(by_number) == len(rows), f"{told}: a request has two records"
    assert len(set(vendor.arrived)) == len(vendor.arrived) and set(vendor.arrived) <= set(
        by_number
    ), f"{told}: what arrived and what is booked"
    for number, row in by_number.items():
        asked = this.asked[number]
        if number not in vendor.arrived:  # reset so soon that the vendor never read it
            assert (row["outcome"], row["output_tokens"], asked.fate) == (
                "client_closed",
                0,
                Fate.UNHEARD,
            ), f"{told}: {row}"
        if asked.states and row["outcome"] == "completed":
            assert (row["input_tokens"], row["output_tokens"]) == (
                asked.input_tokens,
                asked.output_tokens,
            ), f"{told}: {row}"
        assert charged_right(row), f"{told}: {row}"
    found = {}
    for rule in this.rules:
        more = [
            rule.used([row]) - rule.hold(this.asked[number].body_bytes, this.asked[number].cap)
            for number, row in by_number.items()
        ]
        found[rule.name] = rule.used(rows) - rule.amount, sum(more)
    return found


def _judge(
    this: Round, rows: list[dict[str, object]], seconds: float, told: str, figures: Figures
) -> None:
    """What was used in the end, against what is promised."""
    for rule in this.rules:
        used = rule.used(rows)
        room = rule.amount + (int(rule.amount * seconds / 3600) + 1 if this.rate else 0)
        if rule.strict:
            figures.over += max(0, used - room)
            assert used <= room, f"{told}: {used} of {rule}"
            continue
        takes = [
            (rule.used([row]), rule.hold(asked.body_bytes, asked.cap))
            for row in rows
            for asked in [_asked(this, row)]
        ]
        bound = sum(max(0, actual - hold) for actual, hold in takes) + max(
            (hold for _, hold in takes), default=0
        )
        assert used - rule.amount <= bound, (
            f"{told}: {used} of {rule}, stated is at most {bound} beyond"
        )
        if bound:
            figures.beyond.append(max(0, used - rule.amount) / bound)
        if this.k >= K_WORTH:
            figures.beyond_limit.append(max(0, used - rule.amount) / rule.amount)


def _asked(this: Round, row: Row) -> Asked:
    return this.asked[int(str(row["model_requested"]).removeprefix("m-"))]


def _account(
    vendor: Vendor, heard: list[Heard], rows: list[dict[str, object]], figures: Figures
) -> None:
    figures.rounds += 1
    figures.asked += len(heard)
    figures.arrived += len(vendor.arrived)
    figures.refused += heard.count(Heard.REFUSED)
    figures.left += heard.count(Heard.NOTHING)
    figures.outcomes.update(str(row["outcome"]) for row in rows)


@pytest.mark.parametrize(
    ("number", "kind"),
    list(enumerate(KINDS)),
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
async def test_exactly_k_of_200_at_once_and_nothing_beyond(
    tmp_path: Path, number: int, kind: tuple[str, str]
) -> None:
    figures = Figures()
    await play(tmp_path, kind, number, figures)
    print(HEADINGS, figures.told(), sep="\n")


@pytest.mark.campaign
@pytest.mark.parametrize("rounds", [200])
async def test_two_hundred_rounds_through_http(tmp_path: Path, rounds: int) -> None:
    """Of each kind about as many; prints the figures of each, and of all."""
    first = int(os.environ.get("SEED", "1000"))
    by_kind = {kind: Figures() for kind in KINDS}
    for seed in range(first, first + rounds):
        kind = KINDS[seed % len(KINDS)]
        directory = tmp_path / str(seed)
        directory.mkdir()
        await play(directory, kind, seed, by_kind[kind])
        shutil.rmtree(directory)
    everything = Figures()
    print(f"first seed {first}", HEADINGS, sep="\n")
    for kind, figures in by_kind.items():
        print(f"| {', '.join(kind)}", figures.told())
        everything.add(figures)
    print("| all", everything.told())
    assert (everything.over, everything.rounds) == (0, rounds)
    assert everything.outcomes["cut"] and everything.outcomes["client_closed"]

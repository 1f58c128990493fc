"""The kill -9 loop: start, load, SIGKILL, restart on the same directory, drain, compare. As a
script it writes a dated summary.

    python -m tests.crash.kills --kills 1000 --seed 1 --out docs/campaigns

A round is one data directory and one upstream. Each of its cycles kills twice: a process with a
fault asked for at a named point, then a plain one at
a random moment. Only the second is checked before it dies, for both deaths; so the first restart
recovers with the fault still armed.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import platform
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml

from proxy import __version__
from proxy.server.failpoints import NAMES
from tests.crash.checking import Accounts, Tally
from tests.crash.load import KEY, Load, Sent
from tests.crash.processes import Launcher, Proxy, launcher, upstream
from tests.support.raw import RawClient
from tests.support.waiting import GUARD_S, until

PASSES = (1, 2, 5, 12, 40)  # a point that each request passes is killed at one of these passes
RARE_PASSES = {  # and these, which only some of many requests pass, at one of these
    "journal.void": (1, 2),
    "journal.roll": (1, 2, 5),
    "journal.preallocate": (1, 2, 3),
    "journal.sync": (1, 2, 5),
    "journal.compress": (1, 2),
    "journal.delete": (1, 2),
}
# In each opening and each record: a dozen requests fill a segment. A label has at most 500 characters.
LABELS = {f"long{number}": "x" * 500 for number in range(16)}
HIT_S = 120.0  # a point not passed so often by then is given up: the kill counts as a random one


@dataclass(frozen=True)
class Variant:
    """What differs between rounds: how the journal syncs and what becomes of its finished
    segments."""

    sync: str
    keep: str

    def passes(self, name: str) -> bool:
        """Whether a proxy with this config ever comes by the failpoint."""
        if name.startswith("journal.void"):
            return (
                self.sync == "always"
            )  # only there is a moment between the opening and the sending
        if name.startswith("journal.compress"):
            return self.keep != "0s"
        if name.startswith("journal.delete"):
            return self.keep == "0s"
        return True

    def config(self, upstream_address: str) -> dict[str, object]:
        return {
            "listen": "127.0.0.1:0",
            "metrics": {"listen": "127.0.0.1:0"},
            "data_dir": "var",
            "log": {"requests": "none"},
            "privacy": {"end_user": "plain"},
            "drain": {"delay": "0s", "timeout": "10m"},
            # Small segments: the journal rolls, and makes, compresses or deletes them, many times a
            # round.
            "estimates": "bytes",  # the accounts' own measure
            "journal": {
                "segment": "256KiB",
                "interval": "20ms",
                "sync": self.sync,
                "keep": self.keep,
            },
            "upstreams": {
                "scripted": {
                    "base_url": f"http://{upstream_address}/v1",
                    "api_key": "sk-upstream",
                    "apis": ["chat", "completions", "embeddings", "responses", "messages"],
                }
            },
            "routes": [{"model": "*", "upstream": "scripted"}],
            "teams": {"research": {"labels": LABELS}},
            "keys": {"alice": {"team": "research", "secret": KEY}},
        }


VARIANTS = tuple(Variant(sync, keep) for sync in ("interval", "always") for keep in ("7d", "0s"))


@dataclass(frozen=True)
class Effort:
    """How much happens in a life: a plain process is killed when its clients have received
    `pieces_max` pieces at the most, few more often than many."""

    clients: int
    pieces_max: int
    drain_s: float  # nothing is open, and all is booked, so long after a restart


SUITE = Effort(clients=16, pieces_max=150, drain_s=GUARD_S)
CAMPAIGN = Effort(clients=50, pieces_max=500, drain_s=5.0)  # on a quiet machine


@dataclass
class Outcome:
    """What came out, over all rounds."""

    kills: int = 0
    at: Counter[str] = field(default_factory=Counter)  # kills by place
    missed: Counter[str] = field(default_factory=Counter)  # points that were not passed so often
    findings: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    unsent: Counter[str] = field(default_factory=Counter)  # of the tally, by how the journal syncs

    def add(self, tally: Tally, variant: Variant) -> None:
        self.unsent[variant.sync] += tally.unsent
        for name, value in dataclasses.asdict(tally).items():
            mine = getattr(self.tally, name)
            setattr(self.tally, name, max(mine, value) if name.endswith("_max") else mine + value)


def plan(variant: Variant, seed: str, cycles: int, names: Sequence[str] = NAMES) -> list[str]:
    """The faults of a round's cycles: each name in turn, with another pass count each time."""
    rng = random.Random(seed)
    passed = [name for name in names if variant.passes(name)]
    rng.shuffle(passed)
    chosen = [passed[cycle % len(passed)] for cycle in range(cycles)]
    return [
        f"{name}=kill@{rng.choice(RARE_PASSES.get(name.rpartition('.')[0], PASSES))}"
        for name in chosen
    ]


class Round:
    """One data directory and one upstream, through many deaths."""

    def __init__(
        self,
        directory: Path,
        variant: Variant,
        seed: str,
        launching: Launcher,
        upstream_address: str,
        outcome: Outcome,
        effort: Effort = SUITE,
    ) -> None:
        self.config = directory / "config.yaml"
        self.config.write_text(yaml.safe_dump(variant.config(upstream_address)))
        self.accounts = Accounts(directory / "var", directory / "upstream.jsonl")
        self._seed = seed
        self._variant = variant
        self._launching = launching
        self._upstream_address = upstream_address
        self._outcome = outcome
        self._effort = effort
        self._rng = random.Random(seed)
        self._left_over: list[
            Sent
        ] = []  # sent to the plain process that was killed last, and not yet compared

    async def cycle(self, number: int, fault: str) -> list[str]:
        """Two deaths and the check of what came before the second: returns the findings, each with
        what is needed to see it again."""
        sent = await self._die(await self._launching.start(self.config, fault), f"{number}a", fault)
        proxy = await self._launching.start(self.config)
        findings = await self.restarted(proxy, sent)
        sent = await self._die(proxy, f"{number}b", None)
        self._left_over = sent
        return [f"seed {self._seed}, cycle {number}, {fault}: {finding}" for finding in findings]

    async def restarted(
        self, proxy: Proxy, sent: list[Sent], *, faulted: bool = False
    ) -> list[str]:
        """After a restart without faults: all is drained in time and everything adds up."""
        if not await proxy.is_ready():
            return [f"the restart failed: {proxy.ended.result()}"]
        try:
            await proxy.drained(self._effort.drain_s)
        except AssertionError as error:
            return [str(error)]
        await self._quiet()
        sent, self._left_over = self._left_over + sent, []
        return self.accounts.check(sent, faulted=faulted) + self.accounts.verify()

    async def end(self) -> list[str]:
        """The check of the last death."""
        proxy = await self._launching.start(self.config)
        findings = await self.restarted(proxy, [])
        await proxy.kill()
        self._outcome.add(self.accounts.tally, self._variant)
        return [f"seed {self._seed}, end of round: {finding}" for finding in findings]

    async def _die(self, proxy: Proxy, name: str, fault: str | None) -> list[Sent]:
        """Load until it is dead; what was sent."""
        sent: list[Sent] = []
        if await proxy.is_ready():
            load = Load(proxy, name, self._seed, self._effort.clients)
            if fault is None:
                await load.reached(int(self._effort.pieces_max * self._rng.random() ** 2))
            hit = fault is None or await proxy.ends_within(HIT_S)
            code = await proxy.kill()
            sent = await load.finished()
        else:
            hit, code = True, proxy.ended.result()
        assert code == -9, (
            f"seed {self._seed}, {name}, {fault}: the process ended by itself with {code}"
        )
        self._outcome.kills += 1
        if fault is not None and not hit:
            self._outcome.missed[fault] += 1
        self._outcome.at[
            fault.partition("=")[0] if fault is not None and hit else "a random moment"
        ] += 1
        return sent

    async def _quiet(self) -> None:
        """Waits until the upstream has logged the end of all that it was asked."""
        client = await RawClient.connect(self._upstream_address)
        await client.send(b"GET /v1/models HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n\r\n")
        await client.answer()
        await client.aclose()
        await until(self.accounts.read_log)


async def run_round(
    directory: Path,
    variant: Variant,
    seed: str,
    faults: Sequence[str],
    outcome: Outcome,
    effort: Effort = SUITE,
) -> None:
    """One round; what it finds goes to `outcome`. It stops at the first cycle with findings: what
    follows would repeat them."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(
            upstream(directory / "upstream.jsonl", pace_s=0.001)
        )
        launching = await stack.enter_async_context(launcher())
        one = Round(directory, variant, seed, launching, address, outcome, effort)
        for number, fault in enumerate(faults):
            outcome.findings += await one.cycle(number, fault)
            if outcome.findings:
                return
        outcome.findings += await one.end()


async def campaign(kills: int, seed: int, outcome: Outcome) -> None:
    """Rounds of all variants in turn until `kills` processes have died."""
    number = 0
    while outcome.kills < kills and not outcome.findings:
        variant = VARIANTS[number % len(VARIANTS)]
        cycles = min(25, -(-(kills - outcome.kills) // 2))
        name = f"{seed}/{number}"
        with tempfile.TemporaryDirectory(prefix="tollkeeper-kills-") as directory:
            await run_round(
                Path(directory), variant, name, plan(variant, name, cycles), outcome, CAMPAIGN
            )
        print(
            f"{outcome.kills} kills, {outcome.tally.records} records, {len(outcome.findings)} findings",
            flush=True,
        )
        number += 1


def summary(outcome: Outcome, seed: int, duration_s: float) -> str:
    """The result as a page for people."""
    tally = outcome.tally
    lines = [
        f"# kill -9 campaign, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Version {__version__}, seed {seed}, Python {platform.python_version()}, {platform.system()} {platform.machine()}; {duration_s:.0f} s.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| processes killed | {outcome.kills} |",
        f"| requests sent, 50 at once | {tally.requests} |",
        f"| arrived at the upstream | {tally.arrived} |",
        f"| records booked | {tally.records}, {tally.recovered} of them recovered after a death |",
        f"| booked, not in the upstream's log: killed between opening and arrival, 0 output | {_unsent(outcome)} |",
        f"| clients that saw the usage event: charged equals it | {tally.saw_usage} |",
        f"| not reported: delivered ≤ charged ≤ delivered + one chunk + 512 | {tally.within_bounds}; at most {tally.over_tokens_max} tokens above delivered |",
        f"| findings (missing, double, booked without reason, out of bounds, open after {CAMPAIGN.drain_s:g} s, chain broken) | {len(outcome.findings)} |",
        "",
        "| killed at | times |",
        "|---|---|",
        *(f"| {name} | {outcome.at[name]} |" for name in (*NAMES, "a random moment")),
        "",
        *(
            f"Not passed so often within {HIT_S:g} s: {fault}, {times} times."
            for fault, times in sorted(outcome.missed.items())
        ),
        *outcome.findings[:20],
    ]
    return "\n".join(lines).rstrip() + "\n"


def _unsent(outcome: Outcome) -> str:
    """Under `always` an opening waits for its sync before anything is sent: a kill finds many
    there."""
    return f"{outcome.tally.unsent} ({', '.join(f'{number} under sync {sync}' for sync, number in sorted(outcome.unsent.items()))})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, help="directory for the dated summary; stdout without it"
    )
    options = parser.parse_args()
    outcome = Outcome()
    begun_s = time.monotonic()
    asyncio.run(campaign(options.kills, options.seed, outcome))
    text = summary(outcome, options.seed, time.monotonic() - begun_s)
    if options.out is None:
        print(text)
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"{datetime.now(UTC):%Y-%m-%d}-kill-9.md"
        path.write_text(text)
        print(path)
    raise SystemExit(1 if outcome.findings else 0)


if __name__ == "__main__":
    main()

"""The shared store over several real processes: limits hold over all of them together."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from proxy.quota import SharedOptions, connect
from tests.quota.valkey.crowd import BOUND, NOW_MS, limits_of
from tests.support.effort import NO_AUTHORITIES
from tests.support.valkey import ValkeyServer

ROOT = Path(__file__).parent.parent.parent.parent
PROCESSES = 4
ASKS = 200


class Processes:
    """Several processes on one store."""

    def __init__(self, url: str) -> None:
        self.all = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.quota.valkey.crowd", url, f"p{number}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
                env={"PYTHONPATH": str(ROOT), "PATH": "", **NO_AUTHORITIES},
            )
            for number in range(PROCESSES)
        ]
        for process in self.all:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"

    def order(self, number: int, k: int, *, asks: int = ASKS) -> int:
        """All ask at once; how many were let through."""
        return self._tell({"round": number, "k": k, "asks": asks})

    def end(self) -> int:
        """What was let through ends; what it used."""
        return self._tell({})

    def _tell(self, order: dict[str, int]) -> int:
        """The sum of all answers."""
        for process in self.all:
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        total = 0
        for process in self.all:
            assert process.stdout is not None
            total += int(process.stdout.readline())
        return total

    def close(self) -> None:
        for process in self.all:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def processes(server: ValkeyServer) -> Iterator[Processes]:
    server.ask("FLUSHALL")
    found = Processes(server.url)
    try:
        yield found
    finally:
        found.close()


async def figures(server: ValkeyServer, number: int, k: int) -> list[tuple[int, int]]:
    """What is used and held of the four limits of a round."""
    options = SharedOptions(instance="looks", timeout_s=60.0)
    quota = await connect(server.url, ZoneInfo("UTC"), options=options)
    states = await quota.states(limits_of(number, k), NOW_MS)
    await quota.aclose()
    return [(state.used, state.held) for state in states]


async def exactly_k(server: ValkeyServer, rounds: range) -> None:
    with processes(server) as crowd:
        for number in rounds:
            k = 1 + (number * 37) % 150
            assert crowd.order(number, k) == k, f"round {number}"
            used = crowd.end()
            requests, _, slots, tokens = await figures(server, number, k)
            assert requests == (k, 0)
            assert slots == (0, 0)
            assert tokens == (used, 0)


@pytest.mark.whole
async def test_of_four_processes_exactly_k(valkey: ValkeyServer) -> None:
    """200 requests of each at once, at four kinds of limits."""
    await exactly_k(valkey, range(4))


@pytest.mark.campaign
async def test_of_four_processes_exactly_k_in_fifty_rounds(valkey: ValkeyServer) -> None:
    await exactly_k(valkey, range(50))


@pytest.mark.whole
async def test_what_a_killed_process_held_stays_held(valkey: ValkeyServer) -> None:
    """Nobody knows what it sent: only its journal frees it."""
    with processes(valkey) as crowd:
        assert crowd.order(0, 40, asks=8) == 8 * PROCESSES
        gone = crowd.all.pop()
        gone.kill()
        gone.communicate()
        used = crowd.end()
        requests, _, slots, tokens = await figures(valkey, 0, 40)
        assert requests == (24, 8) and slots[0] == 8 and tokens == (used, 8 * BOUND)
        assert crowd.order(0, 40, asks=8) == 8, "of 40, 24 are used and 8 are held"

"""`kill -9` anywhere: what the process had written is what is found, exactly, but for the one entry
it was writing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.journal import Journal, recover
from proxy.server.failpoints import NAMES
from tests.journal.builders import SMALL, all_closes
from tests.support.waiting import GUARD_S

pytestmark = pytest.mark.whole

WORKER = [sys.executable, "-m", f"{__package__}.worker"]
# The package's own root on the path, under whichever name it was imported.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
POINTS = [name for name in NAMES if name.startswith("journal.")]


class Life:
    """One life of the worker as its own words tell it."""

    def __init__(self, keep_s: float) -> None:
        self.may_go = keep_s == 0
        self.open: dict[str, int] = {}  # id -> marks written
        self.closed: list[tuple[int, str]] = []
        self.booked_seq = 0
        self.in_flight: tuple[str, str] | None = None

    def hear(self, lines: list[str]) -> None:
        """Takes in what one process said; an entry announced but not reported is in flight."""
        self.in_flight = None
        for line in lines:
            word, *rest = line.split()
            if word == ">":
                self.in_flight = (rest[0], rest[1])
            elif word == "<":
                assert self.in_flight == (rest[0], rest[1])
                self.in_flight = None
                self._apply(rest[0], rest[1], int(rest[2]))
            else:
                self.booked_seq = int(rest[0])

    def settle(self, directory: Path) -> None:
        """The entry in flight is there or it is not, nothing in between: takes in what it came
        to."""
        if self.in_flight is None:
            return
        kind, id = self.in_flight
        unresolved = {exchange.id: len(marks) for exchange, marks in recover(directory).unresolved}
        closed = {closed.id: seq for seq, closed in all_closes(directory, 10**9)}
        there = {
            "O": id in unresolved,
            "M": unresolved.get(id, 0) > self.open.get(id, 0),
            "C": id in closed,
            "V": id not in unresolved,
        }[kind]
        if there:
            self._apply(kind, id, closed.get(id, 0))

    def check(self, directory: Path) -> None:
        found = recover(directory)
        assert found.skipped_bytes == 0, (
            "a killed process leaves no damage: each write is whole or absent"
        )
        assert {exchange.id for exchange, _ in found.unresolved} == set(self.open)
        # A long exchange is written again with its last mark, which stands for those before it.
        for exchange, marks in found.unresolved:
            assert bool(marks) == bool(self.open[exchange.id])
        kept = [(seq, closed.id) for seq, closed in all_closes(directory, 10**9)]
        gone = self.closed[: len(self.closed) - len(kept)]
        assert gone + kept == self.closed, "each once, in order"
        assert all(seq <= self.booked_seq for seq, _ in gone), "only booked ones may be gone"
        assert not gone or self.may_go

    def _apply(self, kind: str, id: str, seq: int) -> None:
        if kind == "O":
            self.open[id] = 0
        elif kind == "M":
            self.open[id] += 1
        else:
            del self.open[id]
            if kind == "C":
                self.closed.append((seq, id))


def start(root: Path, spec: str, seed: int, keep_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*WORKER, str(root), spec, str(seed), str(keep_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


@pytest.mark.parametrize(
    "passes", [(2,), pytest.param((1, 3), marks=pytest.mark.campaign)], ids=str
)
@pytest.mark.parametrize("name", POINTS)
def test_killed_at_each_named_point(tmp_path: Path, name: str, passes: tuple[int, ...]) -> None:
    keep_s = 0.0 if name.startswith("journal.delete") else 3600.0
    life = Life(keep_s)
    for seed, number in enumerate(passes, 1):
        process = start(tmp_path, f"{name}=kill@{number}", seed, keep_s)
        out, err = process.communicate(timeout=GUARD_S)
        assert process.returncode == -signal.SIGKILL, f"the point was not reached\n{err}"
        life.hear(out.splitlines())
        if life.in_flight is None and not (tmp_path / "w0").exists():
            continue
        life.settle(tmp_path / "w0")
        life.check(tmp_path / "w0")


@pytest.mark.parametrize("lives", [5, pytest.param(200, marks=pytest.mark.campaign)])
def test_killed_at_random_many_times_on_one_directory(tmp_path: Path, lives: int) -> None:
    """Life after life: each settles what the one before left open, and all that any of them wrote
    is there in the end."""
    rng = random.Random(20)
    life = Life(3600.0)
    for seed in range(lives):
        process = start(tmp_path, "", seed, 3600.0)
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline().rstrip("\n") for _ in range(rng.randrange(1, 900))]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines()
        complaint = process.stderr.read()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        assert process.returncode == -signal.SIGKILL, complaint
        life.hear([line for line in lines if line])
        life.settle(tmp_path / "w0")
        life.check(tmp_path / "w0")
    assert len(life.closed) > 40 * lives


def test_a_killed_process_gives_its_directory_free(tmp_path: Path) -> None:
    process = start(tmp_path, "journal.close.after=kill", 1, 3600.0)
    process.communicate(timeout=GUARD_S)
    journal = Journal.claim(tmp_path, SMALL)
    assert journal.writer == "w0"

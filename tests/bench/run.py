"""Compares the proxy, everything on, with others: one core for them, another for upstream and load,
interleaved rounds, medians, and ratios round by round.

python -m tests.bench.run [--quick] [--peers] [--rounds 5] [--seconds 2] [--case TEXT]
                          [--also 'NAME=COMMAND with {port} and {upstream}'] [--out FILE.md]
`--out` writes the result to that file, and its picture beside it as FILE.svg.
Absolute figures drift with the machine; the ratios of one run are what may be quoted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uvloop

from tests.bench import load
from tests.bench.mock import CHUNKS
from tests.bench.picture import bars
from tests.bench.targets import Target, free_port, nginx, peers, process, started, wait_for

OURS, SILENT, BARE, DIRECT = "ours", "ours, counting", "bare", "direct"
PORTKEY = "portkey"


@dataclass
class Case:
    """A kind of load. `unit` is what rates and CPU are told by; `rate` makes it an open loop.
    `peers`: other gateways take part; some take a minute for a round of 200 paced streams."""

    name: str
    connections: int
    options: dict[str, bool] = field(default_factory=dict)
    rate: float | None = None
    quick: bool = False
    peers: bool = True

    @property
    def unit(self) -> str:
        return "chunks" if self.options else "answers"


CASES = (
    Case("JSON, 1 connection", 1),
    Case("JSON, 4 connections", 4, quick=True),
    Case("JSON, 16 connections", 16, quick=True),
    Case("JSON, open loop, 300 requests a second", 32, rate=300.0, peers=False),
    Case("streams of 100 chunks, back to back, 4 connections", 4, {"stream": True}, quick=True),
    Case(
        "200 streams at 50 chunks a second",
        200,
        {"stream": True, "paced": True},
        quick=True,
        peers=False,
    ),
)
OPEN_STREAMS = 1000


@dataclass
class Figures:
    """One target under one load."""

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def measure(target: Target, case: Case, seconds: float) -> Figures:
    silent = {"silent": True} if target.name == SILENT else {}
    payload = load.request(target.port, headers=target.headers, **case.options, **silent)
    before_s = target.cpu_s()
    seen = uvloop.run(load.run(target.port, payload, case.connections, seconds, rate=case.rate))
    used_s = target.cpu_s() - before_s
    count = max(1, len(seen.latencies_s)) * (CHUNKS if case.options else 1)
    times_s = sorted(seen.deliveries_s or seen.latencies_s) or [seconds]
    return Figures(
        per_s=count / seen.took_s,
        cpu_us=used_s / count * 1e6,
        p50_ms=times_s[len(times_s) // 2] * 1e3,
        p99_ms=times_s[len(times_s) * 99 // 100] * 1e3,
    )


def compared(
    case: Case, targets: Iterable[Target], rounds: int, seconds: float
) -> dict[str, list[Figures]]:
    """The figures of each target, round by round."""
    found: dict[str, list[Figures]] = {}
    for number in range(rounds):
        for target in targets:
            if target.name == SILENT and not case.options:
                continue
            if target.name in peers() and not case.peers:
                continue
            if target.name == PORTKEY and case.options:
                continue  # 1.15.2 answers each stream with 500: it changes headers that it may not
            if target.name == DIRECT and number and not case.rate:
                continue  # it does not change, and takes the time of others
            found.setdefault(target.name, []).append(measure(target, case, seconds))
    return found


def table(case: Case, found: dict[str, list[Figures]]) -> list[str]:
    """Medians of each target, and the medians of its ratios to the bare proxy of the same
    round."""
    timed = "delivery" if case.options.get("paced") else "answer"
    lines = [
        f"### {case.name}",
        "",
        f"| | {case.unit}/s | to bare | CPU µs of {case.unit[:-1]} | to bare"
        f" | {timed} p50 ms | p99 ms | p99 to bare |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in found.items():

        def mid(figure: Callable[[Figures], float], rounds: list[Figures] = rounds) -> float:
            return median(map(figure, rounds))

        def ratio(
            figure: Callable[[Figures], float], name: str = name, rounds: list[Figures] = rounds
        ) -> str:
            if name in (BARE, DIRECT):
                return ""
            pairs = zip(rounds, found[BARE], strict=True)
            return f"{median(figure(ours) / figure(bare) for ours, bare in pairs):.2f}"

        lines.append(
            f"| {name} | {mid(lambda f: f.per_s):,.0f} | {ratio(lambda f: f.per_s)}"
            f" | {mid(lambda f: f.cpu_us):,.0f} | {ratio(lambda f: f.cpu_us)}"
            f" | {mid(lambda f: f.p50_ms):.2f} | {mid(lambda f: f.p99_ms):.2f}"
            f" | {ratio(lambda f: f.p99_ms)} |"
        )
    return [*lines, ""]


async def stream_kb(target: Target) -> float:
    """How much memory one open stream takes, of many that say one chunk a second."""
    before_mb = target.rss_mb()
    payload = load.request(target.port, headers=target.headers, stream=True, slow=True)
    async with load.open_streams(target.port, payload, OPEN_STREAMS):
        held_mb = target.rss_mb()
    await asyncio.sleep(1)
    return (held_mb - before_mb) * 1e3 / OPEN_STREAMS


def main() -> None:
    arguments = _arguments()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    mock_port = free_port()
    cases = [case for case in CASES if case.quick or not arguments.quick]
    if arguments.case:
        cases = [case for case in cases if any(text in case.name for text in arguments.case)]
    report = Report(arguments.out)
    report.say(f"# Benchmark, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC", "")
    report.say(
        f"Python {platform.python_version()}, {platform.machine()}, {len(cores)} cores;"
        f" {arguments.rounds} interleaved rounds of {arguments.seconds:g} s. The figures are"
        " medians, and medians",
        "of the ratios of each round. `direct` is the mock upstream without a proxy.",
        "",
    )
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mock = stack.enter_context(process(cores[-1], "tests.bench.mock", str(mock_port)))
        wait_for(mock_port)
        also = dict(one.split("=", 1) for one in arguments.also)
        names = [BARE, OURS] if arguments.quick else [*_others(), BARE, *also, OURS]
        if arguments.peers:
            names = [*peers(), *names]
        targets = [
            stack.enter_context(started(name, directory, mock_port, cores[0], also.get(name, "")))
            for name in names
        ]
        ours = targets[-1]
        at_rest = {target.name: target.rss_mb() for target in targets}
        loaded = list(targets)
        if not arguments.quick:
            loaded = [Target(DIRECT, mock_port, mock.pid), *targets]
            loaded.append(Target(SILENT, ours.port, ours.pid))
        for case in cases:
            found = compared(case, loaded, arguments.rounds, arguments.seconds)
            report.say(*table(case, found))
            report.rates[f"{case.name}: {case.unit}/s"] = {
                name: median(one.per_s for one in rounds)
                for name, rounds in found.items()
                if name != DIRECT and not case.rate
            }
        if not arguments.quick and not arguments.case:
            report.say(*_memory(targets, at_rest))
    report.keep()


class Report:
    """What was measured: printed at once, and kept as a file with a picture if one was named."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: list[str] = []
        self.rates: dict[str, dict[str, float]] = {}

    def say(self, *lines: str) -> None:
        self.lines += lines
        print("\n".join(lines), flush=True)

    def keep(self) -> None:
        if self.path is None:
            return
        picture = self.path.with_suffix(".svg")
        rates = {title: of for title, of in self.rates.items() if of}
        picture.write_text(bars(rates, bold=OURS))
        self.path.write_text("\n".join([*self.lines, "", f"![Rates]({picture.name})", ""]))


def _memory(targets: list[Target], at_rest: dict[str, float]) -> list[str]:
    lines = ["### Memory", ""]
    lines.append(f"| | at rest, MB | after it all | kB a stream, {OPEN_STREAMS} open | start, s |")
    lines.append("|---|---|---|---|---|")
    for target in targets:
        after_mb = target.rss_mb()
        kb = "" if target.name in peers() else f"{asyncio.run(stream_kb(target)):.0f}"
        lines.append(
            f"| {target.name} | {at_rest[target.name]:.0f} | {after_mb:.0f} | {kb}"
            f" | {target.started_s:.2f} |"
        )
    return lines


def _others() -> list[str]:
    if nginx() is None:
        sys.stderr.write("nginx is not installed: it is left out.\n")
        return []
    return ["nginx"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the bare proxy and ours, 60 s")
    parser.add_argument("--peers", action="store_true", help="LiteLLM and Portkey too")
    parser.add_argument("--out", type=Path, help="a file for the result; its picture goes beside")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--case", action="append", help="only cases whose name holds this text")
    parser.add_argument("--also", action="append", default=[], help="NAME=COMMAND")
    arguments = parser.parse_args()
    if arguments.seconds is None:
        arguments.seconds = 1.3 if arguments.quick else 2.0
    return arguments


if __name__ == "__main__":
    main()

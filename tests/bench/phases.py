"""Where the time of a request goes: the proxy's own process with a clock around each phase.

python -m tests.bench.phases [--seconds 2]

The load is JSON answers over four connections: requests of 1 kB and 30 kB, and the answers of five
vendors. Times are of the event loop's thread, without what it waits, and without what a phase calls
of another one; what the clocks cost themselves is taken off.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from time import thread_time_ns
from types import coroutine
from typing import Any

import uvloop

from proxy.cli import main as cli
from tests.bench import load
from tests.bench.mock import VENDORS
from tests.bench.targets import Target, free_port, our_config, process, program, wait_for

# What belongs to each phase, in the order of a request: `module:name` or `module:Class.name`.
PHASES: dict[str, tuple[str, ...]] = {
    "parse the head": ("proxy.dataplane.request_loop:RequestLoop.data_received",),
    "serve, check framing": (
        "proxy.dataplane.request_loop:RequestLoop._serve",
        "proxy.dataplane.request_loop:check_framing",
    ),
    "authenticate": (
        "proxy.dataplane.gateway:Gateway._admit",
        "proxy.dataplane.known_caller:KnownCaller.holds",
        "proxy.dataplane.gateway:uuid7",
    ),
    "read the body": (
        "proxy.dataplane.admission:Admission.arrived",
        "proxy.dataplane.admission:Admission.at_hand",
    ),
    "read the call": (
        "proxy.core.dialects.openai_chat.call:usual_call",
        "proxy.core.dialects.openai_chat.call:read_any_call",
        "proxy.dataplane.large_bodies:LargeBodies.call",
    ),
    "build the head": ("proxy.dataplane.admission:payload_of",),
    "estimate the prompt": (
        "proxy.dataplane.admission:begin_count",
        "proxy.dataplane.counting.exchange_count:ExchangeCount.prompt",
    ),
    "admit": (
        "proxy.dataplane.gateway:Gateway.handle",
        "proxy.dataplane.gateway:Gateway._exchange",
        "proxy.dataplane.admission:Admission.admit",
        "proxy.dataplane.admission:Admission.admit_at_once",
    ),
    "run the exchange": ("proxy.dataplane.exchange:Exchange.run",),
    "reserve": ("proxy.dataplane.hold:Hold.reserve",),
    "take a connection": (
        "proxy.dataplane.upstream.pool:Pool.acquire",
        "proxy.dataplane.upstream.pool:Pool.take_idle",
        "proxy.dataplane.upstream.pool:Pool.release",
    ),
    "journal.open": ("proxy.journal.writer:Journal.open",),
    "send": ("proxy.dataplane.relay:Relay.send",),
    "parse the answer": ("proxy.dataplane.upstream.connection:UpstreamConnection.data_received",),
    "answer head": ("proxy.dataplane.relay:Relay.head_received",),
    "relay": (
        "proxy.dataplane.relay:Relay.body_received",
        "proxy.dataplane.relay:Relay.decide",
    ),
    "meter": (
        "proxy.dataplane.progress:Progress._read_whole",
        "proxy.core.dialects.openai_chat.meter:ChatMeter.feed",
        "proxy.core.dialects.openai_chat.meter:ChatMeter.end",
    ),
    "settle": (
        "proxy.dataplane.exchange:settle",
        "proxy.dataplane.exchange:Exchange._settle",
        "proxy.dataplane.progress:Progress.ending",
    ),
    "journal.close": ("proxy.journal.writer:Journal.close",),
    "settle the quota": ("proxy.dataplane.hold:Hold.settle",),
    "learn": ("proxy.dataplane.counting.exchange_count:ExchangeCount.learn",),
    "tell": ("proxy.dataplane.services:Services.tell",),
    "write the answer": ("proxy.dataplane.response:RelayedResponse.end",),
}


class Clock:
    """Adds up what each phase takes by itself."""

    def __init__(self) -> None:
        self.ns = dict.fromkeys(PHASES, 0)
        self.calls = dict.fromkeys(PHASES, 0)
        self._running: list[str] = []
        self._since_ns = 0

    def enter(self, phase: str) -> None:
        now_ns = thread_time_ns()
        if self._running:
            self.ns[self._running[-1]] += now_ns - self._since_ns
        self._running.append(phase)
        self.calls[phase] += 1
        self._since_ns = now_ns

    def leave(self) -> None:
        now_ns = thread_time_ns()
        self.ns[self._running.pop()] += now_ns - self._since_ns
        self._since_ns = now_ns

    def cost_ns(self) -> float:
        """Of entering and leaving once."""
        clock = Clock()
        phase = next(iter(PHASES))
        began_ns = thread_time_ns()
        for _ in range(10_000):
            clock.enter(phase)
            clock.leave()
        return (thread_time_ns() - began_ns) / 10_000

    def around(self, phase: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, timed; of a coroutine only while it runs."""
        if inspect.iscoroutinefunction(work):

            @functools.wraps(work)
            @coroutine
            def stepped(*args: object, **kwargs: object) -> Generator[Any, Any, Any]:
                inner = work(*args, **kwargs)
                step: Callable[[], Any] = functools.partial(inner.send, None)
                while True:
                    self.enter(phase)
                    try:
                        awaited = step()
                    except StopIteration as end:
                        return end.value
                    finally:
                        self.leave()
                    try:
                        sent = yield awaited
                        step = functools.partial(inner.send, sent)
                    except BaseException as error:
                        step = functools.partial(inner.throw, error)

            return stepped

        @functools.wraps(work)
        def timed(*args: object, **kwargs: object) -> Any:
            self.enter(phase)
            try:
                return work(*args, **kwargs)
            finally:
                self.leave()

        return timed


def serve(config: str, out: str) -> None:
    """The proxy with clocks; the figures are written when it stops."""
    clock = Clock()
    for phase, names in PHASES.items():
        for name in names:
            module, _, path = name.partition(":")
            holder: Any = importlib.import_module(module)
            *outer, last = path.split(".")
            for part in outer:
                holder = getattr(holder, part)
            setattr(holder, last, clock.around(phase, getattr(holder, last)))
    try:
        cli(["serve", "-c", config], standalone_mode=False)
    finally:
        cost_ns = clock.cost_ns()
        figures = {
            phase: max(0.0, clock.ns[phase] - cost_ns * clock.calls[phase]) for phase in PHASES
        }
        Path(out).write_text(json.dumps({"ns": figures, "loop_ns": thread_time_ns()}))


def loads() -> Iterator[tuple[str, bytes]]:
    """Each kind of request with its name, for whatever port."""
    yield "1 kB", load.request(0)
    yield "30 kB", load.request(0, prompt_bytes=30_000)
    for vendor in VENDORS:
        yield vendor, load.request(0, vendor=vendor)


def measure(payload: bytes, seconds: float) -> tuple[dict[str, float], float]:
    """Microseconds of a request by phase, and of the process in all."""
    cores = sorted(os.sched_getaffinity(0))
    mock_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        out = directory / "figures.json"
        config = our_config(directory, port, mock_port)
        with process(cores[-1], "tests.bench.mock", str(mock_port)):
            wait_for(mock_port)
            command = [sys.executable, "-m", "tests.bench.phases", "--serve", str(config), str(out)]
            with program(cores[0], command) as running:
                wait_for(port)
                target = Target("ours", port, running.pid)
                before_s = target.cpu_s()
                seen = uvloop.run(load.run(port, payload, 4, seconds))
                used_s = target.cpu_s() - before_s
        ns = json.loads(out.read_text())["ns"]
    count = len(seen.latencies_s)
    return {phase: ns[phase] / count / 1e3 for phase in PHASES}, used_s / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--only", help="one kind of load")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    names, columns, totals = [], [], []
    for name, payload in loads():
        if arguments.only in (None, name):
            column, total = measure(payload, arguments.seconds)
            names.append(name)
            columns.append(column)
            totals.append(total)
    print(f"| µs of a request | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for phase in PHASES:
        print(f"| {phase} | {' | '.join(f'{column[phase]:.1f}' for column in columns)} |")
    print(f"| all phases | {' | '.join(f'{sum(column.values()):.0f}' for column in columns)} |")
    print(f"| the process, clocks included | {' | '.join(f'{total:.0f}' for total in totals)} |")


if __name__ == "__main__":
    main()

"""What grows with what: the CPU time of a request as bodies, streams, keys and limits grow.

python -m tests.bench.growth [--seconds 2]

A row is worse than linear where its time for one unit rises. A unit is a kilobyte of a body, a
chunk of a stream, or a request where keys and limits grow. `tests/ledger` has the campaign over
ledgers of ten million rows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from tests.bench import load
from tests.bench.targets import LIMITS, Target, free_port, our_config, process, program, wait_for

BODIES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # bytes of the prompt
STREAMS = (10, 100, 1_000, 10_000)  # chunks
KEYS = (10, 100, 1_000, 10_000)
LIMIT_COUNTS = (1, 4, 16)
CONNECTIONS = 4


@contextlib.contextmanager
def serving(core: int, mock_port: int, *, limits: int = 4, more_keys: int = 0) -> Iterator[Target]:
    """This proxy, everything on."""
    texts = [{"limit": LIMITS[at % 4], "name": f"limit-{at}"} for at in range(limits)]
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        config = our_config(Path(directory), port, mock_port, limits=texts, more_keys=more_keys)
        command = [sys.executable, "-m", "proxy", "serve", "-c", str(config)]
        with program(core, command) as running:
            yield Target("ours", port, running.pid, wait_for(port))


def cpu_us(target: Target, payload: bytes, seconds: float) -> float:
    """The CPU time of one request of many, the first ones left out."""
    uvloop.run(load.run(target.port, payload, CONNECTIONS, seconds / 4))
    before_s = target.cpu_s()
    seen = uvloop.run(load.run(target.port, payload, CONNECTIONS, seconds))
    return (target.cpu_s() - before_s) / len(seen.latencies_s) * 1e6


def row(what: str, us: float, units: float) -> None:
    print(f"| {what} | {us:,.0f} | {us / units:,.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    seconds = parser.parse_args().seconds
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    mock_port = free_port()
    print("| | CPU of a request, \u00b5s | of a unit, \u00b5s |\n|---|---|---|")
    with process(cores[-1], "tests.bench.mock", str(mock_port)):
        wait_for(mock_port)
        with serving(cores[0], mock_port) as target:
            for size in BODIES:
                payload = load.request(target.port, prompt_bytes=size)
                row(f"body of {size // 1000:,} kB", cpu_us(target, payload, seconds), size / 1000)
            for chunks in STREAMS:
                payload = load.request(target.port, stream=True, chunks=chunks)
                row(f"stream of {chunks:,} chunks", cpu_us(target, payload, seconds), chunks)
        for count in LIMIT_COUNTS:
            with serving(cores[0], mock_port, limits=count) as target:
                row(f"{count} limits", cpu_us(target, load.request(target.port), seconds), 1)
        for count in KEYS:
            with serving(cores[0], mock_port, more_keys=count - 1) as target:
                row(f"{count:,} keys", cpu_us(target, load.request(target.port), seconds), 1)


if __name__ == "__main__":
    main()

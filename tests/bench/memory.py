"""What an open stream keeps in memory, and what a million requests leave behind.

python -m tests.bench.memory [--streams 1000 3000] [--lines 40] [--prompt-bytes 900]   kB an open stream takes
python -m tests.bench.memory --requests 1000000   RSS before and after so many

The memory of the process (RSS) is what counts. What Python allocates for it, by file and line, is
shown with `--lines`; uvloop, libuv and the kernel have the rest. Each figure is of a process of its
own that has answered some requests before.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from proxy.cli import main as cli
from tests.bench import load
from tests.bench.targets import ROOT, Target, free_port, our_config, process, program, wait_for

WARM_S = 1.0
CONNECTIONS = 16
ROUND_S = 20.0
SETTLED_S = 2.5  # by then the watchdog has looked at each stream twice


def serve(config: str, out: str) -> None:
    """The proxy under `tracemalloc`: one signal takes the first snapshot, another what came since."""
    before: list[tracemalloc.Snapshot] = []

    def begin(*_: object) -> None:
        gc.collect()
        before.append(tracemalloc.take_snapshot())

    def end(*_: object) -> None:
        gc.collect()
        found = tracemalloc.take_snapshot().compare_to(before[-1], "lineno")
        lines = [
            (line.traceback[0].filename, line.traceback[0].lineno, line.size_diff, line.count_diff)
            for line in found
        ]
        Path(f"{out}.part").write_text(json.dumps(lines))
        Path(f"{out}.part").rename(out)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    tracemalloc.start(1)
    cli(["serve", "-c", config], standalone_mode=False)


@contextmanager
def running(*, traced: Path | None = None) -> Iterator[Target]:
    """The proxy on the first core, warm, and its mock upstream on the last."""
    cores = sorted(os.sched_getaffinity(0))
    mock_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as place:
        config = our_config(Path(place), port, mock_port)
        command = [sys.executable, "-m", "proxy", "serve", "-c", str(config)]
        if traced is not None:
            command = [sys.executable, "-m", "tests.bench.memory"]
            command += ["--serve", str(config), str(traced)]
        with (
            process(cores[-1], "tests.bench.mock", str(mock_port)),
            program(cores[0], command) as started,
        ):
            wait_for(mock_port)
            wait_for(port)
            for stream in (False, True):
                payload = load.request(port, **({"stream": True} if stream else {}))
                uvloop.run(load.run(port, payload, CONNECTIONS, WARM_S))
            yield Target("ours", port, started.pid)


async def held(target: Target, count: int, prompt_bytes: int) -> float:
    """kB of RSS that each of so many open streams takes."""
    await asyncio.sleep(SETTLED_S)
    before_mb = target.rss_mb()
    payload = load.request(target.port, prompt_bytes=prompt_bytes, stream=True, slow=True)
    async with load.open_streams(target.port, payload, count):
        await asyncio.sleep(SETTLED_S)
        return (target.rss_mb() - before_mb) * 1e3 / count


async def by_line(
    target: Target, pid: int, out: Path, count: int, prompt_bytes: int
) -> list[tuple[str, int, int, int]]:
    """What Python has allocated since, by file and line: bytes and objects of all streams."""
    await asyncio.sleep(SETTLED_S)
    os.kill(pid, signal.SIGUSR1)
    await asyncio.sleep(SETTLED_S)
    payload = load.request(target.port, prompt_bytes=prompt_bytes, stream=True, slow=True)
    async with load.open_streams(target.port, payload, count):
        await asyncio.sleep(SETTLED_S)
        os.kill(pid, signal.SIGUSR2)
        while not out.exists():
            await asyncio.sleep(0.1)
    return [tuple(line) for line in json.loads(out.read_text())]


def after_requests(count: int) -> str:
    """RSS at rest, after the first seconds of load, and after so many requests."""
    with running() as target:
        time.sleep(SETTLED_S)
        start_mb, done, began_s = target.rss_mb(), 0, time.perf_counter()
        payload = load.request(target.port)
        while done < count:
            done += len(
                uvloop.run(load.run(target.port, payload, CONNECTIONS, ROUND_S)).latencies_s
            )
            print(f"{done:,}: {target.rss_mb():.1f} MB", flush=True)
        took_s = time.perf_counter() - began_s
        time.sleep(SETTLED_S)
        return (
            f"{start_mb:.1f} MB before, {target.rss_mb():.1f} MB after {done:,} in {took_s:.0f} s"
        )


def show_lines(count: int, top: int, prompt_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "lines.json"
        with running(traced=out) as target:
            lines = uvloop.run(by_line(target, target.pid, out, count, prompt_bytes))
    total = sum(size for _, _, size, _ in lines)
    print(f"\n{total / count / 1e3:.1f} kB a stream by Python's own count, of {count} open")
    print("\n| bytes | objects | line |\n|---|---|---|")
    for name, number, size, objects in sorted(lines, key=lambda line: -line[2])[:top]:
        place = name.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]
        print(f"| {size / count:.0f} | {objects / count:.1f} | {place}:{number} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--prompt-bytes", type=int, default=900)
    parser.add_argument("--lines", type=int, default=0, help="so many lines of code are shown")
    parser.add_argument("--requests", type=int, help="RSS before and after so many instead")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    if arguments.requests:
        print(after_requests(arguments.requests))
        return
    for count in arguments.streams:
        with running() as target:
            print(
                f"{uvloop.run(held(target, count, arguments.prompt_bytes)):.1f} kB a stream, {count} open",
                flush=True,
            )
    if arguments.lines:
        show_lines(arguments.streams[0], arguments.lines, arguments.prompt_bytes)


if __name__ == "__main__":
    main()

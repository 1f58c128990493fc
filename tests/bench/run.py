"""Compares the proxy, everything on, with a bare aiohttp proxy that meters nothing: one core each,
interleaved rounds, medians, ratios.

python -m tests.bench.run [--rounds 5] [--seconds 3] [--out FILE]   The proxies run on one core, upstream and load on another.
Absolute figures drift with the machine; the ratios of one run are what may be quoted.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import uvloop
import yaml

from tests.bench import load

ROOT = Path(__file__).parents[2]
CASES = {  # name: (payload options, connections)
    "JSON, 4 connections": ({}, 4),
    "JSON, 16 connections": ({}, 16),
    "JSON, 1 connection": ({}, 1),
    "stream of 100 chunks, back to back, 4 connections": ({"stream": True}, 4),
    "200 streams at 50 chunks/s": ({"stream": True, "paced": True}, 200),
}
LIMITS = [
    "1_000_000 requests/minute",
    "1_000_000_000 tokens/minute",
    "1_000_000_000 tokens/day",
    "1_000_000_000 tokens/month",
]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def process(core: int, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(20)


def wait_for(port: int) -> float:
    """Seconds until the port answers."""
    began = time.perf_counter()
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return time.perf_counter() - began
        time.sleep(0.005)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def config(directory: Path, port: int, upstream_port: int) -> Path:
    path = directory / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "listen": f"127.0.0.1:{port}",
                "metrics": {"listen": f"127.0.0.1:{free_port()}"},
                "drain": {"delay": "0s", "timeout": "5s"},
                "upstreams": {
                    "mock": {"base_url": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "k"}
                },
                "routes": [{"model": "bench", "upstream": "mock"}],
                "teams": {"core": {"labels": {"cost_center": "1"}}},
                "keys": {"bench": {"team": "core", "secret": "sk-bench", "limits": LIMITS}},
            }
        )
    )
    return path


def measure(
    port: int, pid: int, options: dict[str, bool], connections: int, seconds: float
) -> dict[str, float]:
    payload = load.request(port, **options)
    before = cpu_s(pid)
    latencies, took = uvloop.run(load.run(port, payload, connections, seconds))
    used = cpu_s(pid) - before
    latencies.sort()
    return {
        "per_s": len(latencies) / took,
        "cpu_us": used / len(latencies) * 1e6,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", action="append", help="only cases whose name holds this text")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    mock_port, bare_port, port = free_port(), free_port(), free_port()
    lines = [f"# Benchmark, {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC", ""]
    with (
        tempfile.TemporaryDirectory() as directory,
        process(cores[-1], "tests.bench.mock", str(mock_port)),
    ):
        wait_for(mock_port)
        settings = config(Path(directory), port, mock_port)
        with (
            process(
                cores[0], "tests.bench.bare", str(bare_port), f"http://127.0.0.1:{mock_port}"
            ) as bare,
            process(cores[0], "proxy", "serve", "-c", str(settings)) as ours,
        ):
            started_s = wait_for(port)
            wait_for(bare_port)
            lines += [
                f"Python {platform.python_version()}, {platform.machine()}, {len(cores)} cores; {arguments.rounds} interleaved rounds of {arguments.seconds:g} s; medians. "
                "`direct` is the mock upstream without a proxy.",
                "",
                "| case | answers/s: bare | ours | ratio | CPU µs an answer: bare | ours | ratio | p50 / p99 ms: direct | bare | ours |",
                "|---|---|---|---|---|---|---|---|---|---|",
            ]
            for name, (options, connections) in CASES.items():
                if arguments.case and not any(text in name for text in arguments.case):
                    continue
                rounds = [
                    (
                        measure(
                            mock_port,
                            os.getpid(),
                            options,
                            connections,
                            min(1.0, arguments.seconds),
                        ),
                        measure(bare_port, bare.pid, options, connections, arguments.seconds),
                        measure(port, ours.pid, options, connections, arguments.seconds),
                    )
                    for _ in range(arguments.rounds)
                ]
                lines.append(row(name, rounds))
                print(lines[-1], flush=True)
            lines += [
                "",
                f"Start to listening (imports included): {started_s:.2f} s. Resident after the run: bare {rss_mb(bare.pid):.0f} MB, ours {rss_mb(ours.pid):.0f} MB.",
                "",
            ]
    text = "\n".join(lines)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def row(
    name: str, rounds: list[tuple[dict[str, float], dict[str, float], dict[str, float]]]
) -> str:
    def mid(index: int, field: str) -> float:
        return median(figures[index][field] for figures in rounds)

    rate = median(ours["per_s"] / bare["per_s"] for _, bare, ours in rounds)
    cpu = median(ours["cpu_us"] / bare["cpu_us"] for _, bare, ours in rounds)
    latency = [f"{mid(index, 'p50_ms'):.2f} / {mid(index, 'p99_ms'):.2f}" for index in range(3)]
    return (
        f"| {name} | {mid(1, 'per_s'):,.0f} | {mid(2, 'per_s'):,.0f} | {rate:.2f} | {mid(1, 'cpu_us'):,.0f} | {mid(2, 'cpu_us'):,.0f} | {cpu:.2f} | "
        + " | ".join(latency)
        + " |"
    )


if __name__ == "__main__":
    main()

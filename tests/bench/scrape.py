"""What a scrape of many series costs, and what streams feel of it.   python -m tests.bench.scrape [--series 10000] [--streams 100] [--seconds 6]

The proxy's metrics are filled until the page has so many samples. Then streams of 50 events a
second flow through it: not scraped, scraped every second, scraped without a
pause, in turns. Each event carries the time at which the upstream sent it. The proxy runs on one
core, upstream and clients on another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import uvloop
import yaml

from tests.bench.targets import ROOT, free_port, process, wait_for

MODEL_SAMPLES = 60  # about what one model adds: three histograms and the counters
EVENTS = 100
PACE_S = 0.02
SENT = re.compile(rb'"sent":([0-9.]+)')
ANSWER = b'{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}'
ROUNDS = 3
PAUSES_S: dict[str, float | None] = {
    "not scraped": None,
    "scraped every second": 1.0,
    "scraped without a pause": 0.0,
}


def fill(port: int, models: int) -> None:
    """One request for each of so many models, which the upstream all answers."""
    for number in range(models):
        body = json.dumps(
            {"model": f"m{number}", "messages": [{"role": "user", "content": "hi"}]}
        ).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            body,
            {"Authorization": "Bearer sk-bench", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).read()


def scrape(port: int) -> tuple[float, int]:
    """Seconds, and samples."""
    began_s = time.perf_counter()
    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read()
    return time.perf_counter() - began_s, sum(
        1 for line in page.splitlines() if not line.startswith(b"#")
    )


class Upstream(asyncio.Protocol):
    """Streams events that say when they were sent; a request without `stream` gets a short answer.
    The clock is the machine's monotonic one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self.streaming: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if b'"stream":true' in data:
            self.streaming = asyncio.create_task(self.stream())
        elif data.endswith(b"}"):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )

    def connection_lost(self, exc: Exception | None) -> None:
        if self.streaming is not None:
            self.streaming.cancel()

    async def stream(self) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(EVENTS):
            self.write(
                b'data: {"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"sent":%.6f}\n\n'
                % time.monotonic()
            )
            await asyncio.sleep(PACE_S)
        # Stated, so that nothing is counted by a tokenizer: that is another measurement.
        self.write(
            b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":100,"total_tokens":109}}\n\n'
        )
        self.write(b"data: [DONE]\n\n")
        self.transport.write(b"0\r\n\r\n")

    def write(self, event: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


class Stream(asyncio.Protocol):
    """Reads one stream and keeps how late its events came."""

    def __init__(self, payload: bytes, delays_s: list[float], over: asyncio.Event) -> None:
        self.payload, self.delays_s, self.over = payload, delays_s, over
        self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self.payload)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        self.delays_s += [
            now_s - float(sent) for sent in SENT.findall(data)
        ]  # an event cut in two by the network is not seen
        self.tail = (self.tail + data)[-8:]
        if self.tail.endswith(b"\r\n0\r\n\r\n"):
            self.over.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()


async def deliver(port: int, streams: int, seconds: float) -> list[float]:
    """How long each event took from upstream to client, in seconds."""
    body = json.dumps(
        {"model": "m0", "messages": [{"role": "user", "content": "hi"}], "stream": True},
        separators=(",", ":"),
    ).encode()
    payload = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    loop, delays_s = asyncio.get_running_loop(), []
    until_s = time.monotonic() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(PACE_S * number / streams)  # not all in step
        while time.monotonic() < until_s:
            over = asyncio.Event()
            transport, _ = await loop.create_connection(
                partial(Stream, payload, delays_s, over), "127.0.0.1", port
            )
            await over.wait()
            transport.close()

    await asyncio.gather(*(one(number) for number in range(streams)))
    return delays_s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument(
        "--upstream", type=int, metavar="PORT", help="be the upstream, and nothing else"
    )
    arguments = parser.parse_args()
    if arguments.upstream is not None:
        uvloop.run(serve(arguments.upstream))
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    port, metrics_port, mock_port = free_port(), free_port(), free_port()
    with (
        tempfile.TemporaryDirectory() as directory,
        process(cores[-1], "tests.bench.scrape", "--upstream", str(mock_port)),
    ):
        path = Path(directory) / "config.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "listen": f"127.0.0.1:{port}",
                    "metrics": {"listen": f"127.0.0.1:{metrics_port}"},
                    "drain": {"delay": "0s", "timeout": "5s"},
                    "upstreams": {
                        "mock": {"base_url": f"http://127.0.0.1:{mock_port}/v1", "api_key": "k"}
                    },
                    "routes": [{"model": "*", "upstream": "mock"}],
                    "teams": {"core": {}},
                    "keys": {
                        "bench": {
                            "team": "core",
                            "secret": "sk-bench",
                            "limits": ["1_000_000 requests/minute"],
                        }
                    },
                }
            )
        )
        wait_for(mock_port)
        with process(cores[0], "proxy", "serve", "-c", str(path)):
            wait_for(port)
            fill(port, arguments.series // MODEL_SAMPLES)
            scrapes = sorted(scrape(metrics_port)[0] for _ in range(9))
            samples = scrape(metrics_port)[1]
            print(
                f"Python {platform.python_version()}, {platform.machine()}. A page of {samples:,} samples: {scrapes[4] * 1e3:.0f} ms idle (median of 9).",
                flush=True,
            )
            uvloop.run(deliver(port, arguments.streams, 1.0))  # what happens once happens now
            late: dict[str, list[float]] = {name: [] for name in PAUSES_S}
            for name in [*PAUSES_S] * ROUNDS:
                with scraper(cores[-1], metrics_port, PAUSES_S[name]):
                    late[name] += uvloop.run(deliver(port, arguments.streams, arguments.seconds))
            for name, delays_s in late.items():
                delays_s.sort()
                figures = ", ".join(
                    f"p{share:g} {delays_s[min(len(delays_s) - 1, int(len(delays_s) * share / 100))] * 1e3:.1f} ms"
                    for share in (50, 99, 99.9)
                )
                print(
                    f"{arguments.streams} streams at {1 / PACE_S:.0f} events/s, {name}: {figures}, max {delays_s[-1] * 1e3:.1f} ms ({len(delays_s):,} events)",
                    flush=True,
                )


@contextlib.contextmanager
def scraper(core: int, port: int, pause_s: float | None) -> Iterator[None]:
    """Asks for the page again and again; None: not at all."""
    if pause_s is None:
        yield
        return
    script = f"import time, urllib.request as r\nwhile True: r.urlopen('http://127.0.0.1:{port}/metrics').read(); time.sleep({pause_s})"
    started = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    try:
        yield
    finally:
        started.terminate()
        started.wait()


if __name__ == "__main__":
    main()

"""How long the proxy takes from its start to the first answer of an upstream that it passes on.

python -m tests.bench.start [--times 5]

The first start makes the ledger and the journal; the others find them. The interpreter's own start
and all imports are in it, read from files that the system has in memory. The CPU time of the
process is told beside, since other programs do not move it much.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.bench import load
from tests.bench.targets import Target, free_port, our_config, process, program, wait_for

LONGEST_S = 60.0


def answered(port: int, payload: bytes) -> None:
    """Returns once a request was answered with 200."""
    give_up_s = time.perf_counter() + LONGEST_S
    while time.perf_counter() < give_up_s:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S) as client,
        ):
            client.sendall(payload)
            if client.recv(65536).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.002)
    raise TimeoutError(f"nothing answers on port {port}")


def measure(times: int) -> list[tuple[float, float]]:
    """Seconds of each start, of one data directory, and those of CPU time."""
    cores = sorted(os.sched_getaffinity(0))
    mock_port, port = free_port(), free_port()
    payload = load.request(port)
    found = []
    with tempfile.TemporaryDirectory() as place:
        config = our_config(Path(place), port, mock_port)
        command = [sys.executable, "-m", "proxy", "serve", "-c", str(config)]
        with process(cores[-1], "tests.bench.mock", str(mock_port)):
            wait_for(mock_port)
            for _ in range(times):
                began_s = time.perf_counter()
                with program(cores[0], command) as running:
                    answered(port, payload)
                    took_s = time.perf_counter() - began_s
                    found.append((took_s, Target("ours", port, running.pid).cpu_s()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    found = measure(parser.parse_args().times)
    for name, seconds in zip(
        ("from start to answer", "CPU time"), zip(*found, strict=False), strict=True
    ):
        print(f"{name}: first {seconds[0]:.2f} s, median {median(seconds):.2f} s of {len(found)}")


if __name__ == "__main__":
    main()

"""Measures how many records a second a PostgreSQL ledger takes, with commits that wait for the disk.

python -m tests.bench.postgres [--seconds 10]

It starts a server of its own. Four writers are measured in one ledger, where they
wait for each other at the end of each batch, and in four, where they do not. Batches have as many
groups of roll-ups as a small company has keys (12), or three for each record.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.synchronize import Barrier

from proxy.ledger import Batch
from proxy.ledger.postgresql.booking import PostgresBooker
from proxy.ledger.postgresql.line import Line
from tests.ledger.samples import KEY, START_MS, make_record, numbered
from tests.support.postgres import PostgresServer, programs

WARM_UP = 10  # batches
SETTINGS = (
    "max_connections=60",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "log_min_messages=fatal",
)

_Result = tuple[int, float, float, float]  # records, seconds, our CPU seconds, median of a batch


def write(url: str, writer: int, size: int, groups: int, seconds: float, ready: Barrier) -> _Result:
    """Book batches for so long."""
    line = Line(url)
    book = PostgresBooker(line, KEY, lambda: START_MS + 5000)

    def batch(n: int) -> Batch:
        first = n * size
        records = [
            make_record(
                writer * 2**40 + first + k,
                started_at_ms=START_MS + first // 10,
                key_id=f"key-{(first + k) % groups:04d}",
                currency="USD",
                cost_nano=12_345_678,
                charge_nano=12_345_678,
                price_version="0123456789abcdef",
            )
            for k in range(size)
        ]
        return Batch(f"w{writer}", numbered(*records, after=first))

    for n in range(WARM_UP):
        book.book(batch(n))
    ready.wait()
    walls: list[float] = []
    cpu = 0.0
    n, began = WARM_UP, time.perf_counter()
    while time.perf_counter() - began < seconds:
        made = batch(n)
        wall, used = time.perf_counter(), time.process_time()
        book.book(made)
        walls.append(time.perf_counter() - wall)
        cpu += time.process_time() - used
        n += 1
    took = time.perf_counter() - began
    line.close()
    return (n - WARM_UP) * size, took, cpu, statistics.median(walls)


def _run(*arguments: object) -> None:
    *given, results = arguments
    results.put(write(*given))  # type: ignore[attr-defined, arg-type]


def measured(urls: list[str], size: int, groups: int, seconds: float) -> str:
    """One line: all writers at once, each on its URL."""
    spawn = multiprocessing.get_context("spawn")
    ready, results = spawn.Barrier(len(urls)), spawn.Queue()
    processes = [
        spawn.Process(target=_run, args=(url, n, size, groups, seconds, ready, results))
        for n, url in enumerate(urls)
    ]
    for process in processes:
        process.start()
    found: list[_Result] = [results.get() for _ in urls]
    for process in processes:
        process.join()
    rate = sum(records / took for records, took, _, _ in found)
    cpu = sum(used for _, _, used, _ in found) / sum(records for records, _, _, _ in found)
    batch = statistics.median(median for _, _, _, median in found)
    return f"{rate:9,.0f} records/s, {batch * 1000:6.1f} ms a batch, our CPU {cpu * 1e6:4.0f} µs a record"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    server = PostgresServer(programs(), SETTINGS)
    try:
        print(server.sql("SELECT version()")[0][0])
        for groups in (12, 800):
            for size in (64, 256):
                for name, urls in (
                    ("1 writer", [server.database()]),
                    ("4 writers, 1 ledger", [server.database()] * 4),
                    ("4 writers, 4 ledgers", [server.database() for _ in range(4)]),
                ):
                    line = measured(urls, size, groups, args.seconds)
                    print(f"{groups:4} groups, batches of {size:3}, {name:20} {line}", flush=True)
    finally:
        server.remove()


if __name__ == "__main__":
    main()

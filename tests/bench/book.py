"""Makes a ledger of millions of records, and measures what has to be quick however large the book
is: the usage, and what the quota is rebuilt from.

python -m tests.bench.book --records 10000000 --dir DIR [--keys 1000] [--days 90]   DIR needs a kilobyte of disk for each record; a ledger there is taken as it is.
The records are spread evenly over keys, models and time, which is what roll-ups compress worst. The
same arguments make the same records.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from proxy.config.limits import rules_of
from proxy.config.loader import load
from proxy.core.records.canonical import HASHED_V1
from proxy.ledger import connect, connect_reader
from proxy.ledger.spans import BUCKET_MS
from proxy.ledger.sqlite.schema import MIGRATIONS, migrate
from proxy.ledger.sqlite.sums import FIRST_SUMS, GROUPS, WIDE
from proxy.quota import connect as connect_quota
from proxy.quota.rebuild import restore

# 2026-11-20T15:27Z: within a quarter hour, a day, a week and a month in every zone
END_MS = 1_795_188_420_000
DAY_MS = 86_400_000
ZONES = tuple(map(ZoneInfo, ("UTC", "Asia/Shanghai", "America/New_York", "Asia/Kolkata")))
UPSTREAMS, TEAMS, MODELS, MODELS_A_KEY = 4, 50, 20, 3
EARLIER_SCHEMA = (
    2  # filled as a ledger of this version, so that bringing it to the present one is measured too
)
CONFIG = """
upstreams: {upstream-0: {base_url: "http://127.0.0.1/v1", api_key: k, limits: ["1_000_000_000 tokens/day"]}}
routes: [{model: "*", upstream: upstream-0}]
limits: ["1_000_000 USD/month", "1_000_000 requests/minute"]
defaults:
  team: {limits: ["10_000 USD/month", "100_000 USD/total"]}
  key: {limits: ["600 requests/minute", "100_000_000 tokens/day", "500_000_000 tokens/week", "1_000 USD/month for model-1*"]}
teams: {team-00: {}, team-01: {}, team-02: {}}
"""


def _random(salt: int, below: int) -> str:
    """An SQL number below `below` that depends on n and looks like chance."""
    mixed = f"((n * 2654435761 + {salt * 40503}) % 4294967291)"
    return f"(({mixed} * 48271 + {salt}) % 2147483647 / 7 % {below})"


def _columns(keys: int, step: str) -> dict[str, str]:
    """Each column of the n-th record as SQL; what is not named is null."""
    at = f"({END_MS} - {step} + n % 1000)"
    key = _random(1, keys)
    model = f"(({key} * 7 + {_random(2, MODELS_A_KEY)}) % {MODELS})"
    input_tokens, output_tokens = f"(200 + {_random(3, 4000)})", f"(20 + {_random(4, 900)})"
    cost = f"iif({model} = 0, NULL, {input_tokens} * 250 + {output_tokens} * 1000)"
    stamp = f"printf('%012x', {at})"
    return {
        "seq": "n", "id": f"substr({stamp}, 1, 8) || '-' || substr({stamp}, 9) || printf('-7000-8000-%012x', n)", "writer": "'0'", "origin": "'proxy'",
        "kind": "iif(n % 1000 = 999, 'adjustment', 'usage')", "started_at_ms": at, "booked_at_ms": f"({at} + 1300)", "duration_ms": "1200", "first_byte_ms": "240",
        "key_id": f"printf('key-%04d', {key})", "team": f"printf('team-%02d', {key} % {TEAMS})", "labels": "'{\"cost_center\":\"4711\"}'", "tags": "'{}'",
        "endpoint": "'/v1/chat/completions'", "dialect": "'openai_chat'", "upstream": f"'upstream-' || ({model} % {UPSTREAMS})",
        "model_requested": f"'model-' || {model}", "model_served": f"'model-' || {model}", "stream": "1", "status": "200", "outcome": "'completed'",
        "finish_reason": "'stop'", "upstream_request_id": "printf('chatcmpl-%016x', n)", "client_retry_count": "0",
        "input_tokens": input_tokens, "cached_tokens": f"({input_tokens} / 2)", "output_tokens": output_tokens, "reasoning_tokens": f"({output_tokens} / 3)",
        "input_source": "'reported'", "output_source": "'reported'", "source": "'reported'", "inconsistent": "0",
        "usage_raw": f"printf('{{\"completion_tokens\":%d,\"prompt_tokens\":%d}}', {output_tokens}, {input_tokens})",
        "bytes_in": "3500", "bytes_out": "21000", "chunks": "180", "cost_nano": cost, "charge_nano": cost, "currency": f"iif({model} = 0, NULL, 'USD')",
        "price_version": "'0123456789abcdef'", "hash_version": "1", "prev_hash": "zeroblob(32)", "hash": "zeroblob(32)",
    }  # fmt: skip


def fill(connection: sqlite3.Connection, records: int, keys: int, days: int) -> None:
    """The records in the order of time, and their quarter-hour roll-ups. The chain is not made:
    nothing measured here reads it."""
    columns = _columns(keys, f"({records} - n) * {days * DAY_MS} / {records}")
    names = (*HASHED_V1, "prev_hash", "hash")  # those of the earlier schema
    values = ", ".join(columns.get(name, "NULL") for name in names)
    (trigger,) = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'records_known'"
    ).fetchone()
    connection.execute("DROP TRIGGER records_known")
    for start in range(1, records + 1, 100_000):
        last = min(records, start + 99_999)
        numbers = f"WITH RECURSIVE numbers (n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
        connection.execute(
            f"INSERT INTO records ({', '.join(names)}) {numbers} SELECT {values} FROM numbers"
        )
    first_ms = END_MS - days * DAY_MS
    sums = ", ".join(f"sum({expression})" for _, expression in FIRST_SUMS)
    for start_ms in range(first_ms - first_ms % BUCKET_MS, END_MS + 2 * BUCKET_MS, DAY_MS):
        connection.execute(
            f"INSERT INTO rollups (bucket_ms, {', '.join(GROUPS)}, {', '.join(name for name, _ in FIRST_SUMS)}) "
            f"SELECT started_at_ms - started_at_ms % {BUCKET_MS}, {', '.join(GROUPS)}, {sums} FROM records "
            "WHERE started_at_ms >= ? AND started_at_ms < ? GROUP BY 1, 2, 3, 4, 5, 6",
            (start_ms, start_ms + DAY_MS),
        )
    connection.execute(trigger)


def make(path: Path, records: int, keys: int, days: int) -> float:
    """A ledger file at the present schema. Returns the seconds that the migrations took which came
    after the first roll-ups."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "cache_size = -400000",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection, str(path), MIGRATIONS[:EARLIER_SCHEMA])
        connection.execute("BEGIN")
        fill(connection, records, keys, days)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA cache_size = -8192")
        began = time.perf_counter()
        migrate(connection, str(path))
        return time.perf_counter() - began
    finally:
        connection.close()


def calendar_month(zone: ZoneInfo, month: int) -> tuple[int, int]:
    return (
        int(datetime(2026, month, 1, tzinfo=zone).timestamp() * 1000),
        int(datetime(2026, month + 1, 1, tzinfo=zone).timestamp() * 1000),
    )


async def restored(directory: Path, zone: ZoneInfo) -> int:
    """What a start does before the first request: a store with the counts of every limit. Returns
    how many there are."""
    config = directory / "config.yaml"
    config.write_text(CONFIG)
    rules = rules_of(load(config, {}).settings)
    ledger = await connect("sqlite:ledger.db", directory)
    try:
        quota = await connect_quota("memory:", zone)
        await restore(
            quota,
            rules,
            ledger,
            connect_reader("sqlite:ledger.db", directory),
            currency="USD",
            zone=zone,
            now_ms=END_MS,
        )
        return len(quota.limits())
    finally:
        await ledger.aclose()


def timed(name: str, rounds: int, work: Callable[[], int]) -> None:
    """Of some rounds, without the first, in which the system reads the file: the median and the
    least on the wall, the median of the processor's time."""
    walls, cpus, found = [], [], work()
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    print(
        f"{name:58} {median(walls) * 1000:7.0f} ms, least {min(walls) * 1000:5.0f}, CPU {median(cpus) * 1000:5.0f}   {found:,}",
        flush=True,
    )


def measure(directory: Path, rounds: int) -> None:
    queries = connect_reader("sqlite:ledger.db", directory)
    connection = sqlite3.connect(f"file:{directory / 'ledger.db'}?mode=ro", uri=True)
    for table in ("records", "rollups", *(table for table, _ in WIDE)):
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        print(f"{table:16} {count:12,} rows")
    connection.close()
    print(
        f"{(directory / 'ledger.db').stat().st_size / 1e9:.1f} GB, SQLite {sqlite3.sqlite_version}"
    )

    def usage(
        by: str, from_ms: int | None = None, to_ms: int | None = None, zone: ZoneInfo = ZONES[0]
    ) -> int:
        return len(queries.usage(by.split(), from_ms, to_ms, zone))

    timed("usage of all time by team, key, model", rounds, lambda: usage("team key model"))
    timed("usage of all time by team", rounds, lambda: usage("team"))
    for zone in ZONES:
        for name, month in (("this", 11), ("last", 10)):
            from_ms, to_ms = calendar_month(zone, month)
            timed(
                f"usage of {name} month by team, key, model, {zone.key}",
                rounds,
                lambda f=from_ms, t=to_ms, z=zone: usage("team key model", f, t, z),
            )  # type: ignore[misc]
    for zone in ZONES:
        from_ms, to_ms = calendar_month(zone, 10)
        timed(
            f"usage of last month by team, day, {zone.key}",
            rounds,
            lambda f=from_ms, t=to_ms, z=zone: usage("team day", f, t, z),
        )  # type: ignore[misc]
    for zone in ZONES:
        timed(
            f"a start: every limit's count, {zone.key}",
            rounds,
            lambda z=zone: asyncio.run(restored(directory, z)),
        )  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dir", type=Path, required=True)
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    if not (args.dir / "ledger.db").exists():
        began = time.perf_counter()
        migrated_s = make(args.dir / "ledger.db", args.records, args.keys, args.days)
        print(
            f"made in {time.perf_counter() - began:.0f} s, of which {migrated_s:.1f} s brought a ledger of schema {EARLIER_SCHEMA} to the present one"
        )
    measure(args.dir, args.rounds)


if __name__ == "__main__":
    main()

"""Fills a PostgreSQL ledger with records, and measures what has to be quick however large it is.

python -m tests.bench.book_postgresql --records 1000000 [--keys 500] [--days 30] [--rounds 5] [--url URL]

Without a URL a server of the tests is started, which does not wait for the disk. The records are
made by INSERT … SELECT, spread evenly over four chains, 500 keys and time. The chain is not hashed:
nothing measured here reads it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from proxy.ledger import connect_reader
from proxy.ledger.postgresql.connection import Connection, opened
from proxy.ledger.postgresql.rebuild import rebuilt
from proxy.ledger.postgresql.schema import migrate
from proxy.ledger.postgresql.sums import FAMILIES
from proxy.ledger.reading import Reader, Stretch
from tests.support.postgres import postgres

END_MS = 1_795_188_420_000  # 2026-11-20T15:27Z
DAY_MS = 86_400_000
BATCH, CHAINS, TEAMS, MODELS, UPSTREAMS = 256, 4, 50, 20, 4

_PLACE = f"""
    'w' || (n / {BATCH} % {CHAINS}) AS chain,
    n / {BATCH} / {CHAINS} * {BATCH} + n % {BATCH} + 1 AS chain_seq,
    (n / {BATCH} / {CHAINS} + 1) * {BATCH} AS head_seq"""
_RECORDS = f"""
INSERT INTO records (id, chain, chain_seq, head_seq, writer, origin, kind, started_at_ms,
  booked_at_ms, duration_ms, key_id, team, labels, tags, endpoint, dialect, upstream,
  model_requested, model_served, stream, status, outcome, client_retry_count, input_tokens,
  cached_tokens, output_tokens, input_source, output_source, source, inconsistent, bytes_in,
  bytes_out, chunks, cost_nano, charge_nano, currency, price_version, hash_version, prev_hash, hash)
SELECT substr(stamp, 1, 8) || '-' || substr(stamp, 9) || '-7000-8000-' || lpad(to_hex(n), 12, '0'),
  chain, chain_seq, head_seq, chain, 'proxy', 'usage', at_ms, at_ms + 1300, 1200,
  'key-' || key, 'team-' || key % {TEAMS}, '{{"cost_center":"' || key % 9 || '"}}',
  '{{"feature":"f' || n % 7 || '"}}', '/v1/chat/completions', 'openai_chat',
  'upstream-' || model % {UPSTREAMS}, 'model-' || model, 'model-' || model, 1, 200, 'completed', 0,
  200 + n % 4000, n % 100, 20 + n % 900, 'reported', 'reported', 'reported', 0, 3500, 21000, 180,
  n % 7919 * 1000, n % 7919 * 1000, 'USD', '0123456789abcdef', 2, '\\x00', '\\x00'
FROM (SELECT n, {_PLACE}, (n * 7919) % %(keys)s AS key, (n / 3) % {MODELS} AS model, at_ms,
    lpad(to_hex(at_ms), 12, '0') AS stamp
  FROM (SELECT n, {END_MS} - (%(records)s - n) * %(days)s * {DAY_MS} / %(records)s AS at_ms
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n) AS moments) AS made"""
_HEADS = f"""
INSERT INTO heads (chain, chain_seq, seq, rows, hash, booked_at_ms, key_name, seal)
SELECT chain, head_seq, n + {BATCH}, {BATCH}, '\\x00', {END_MS}, 'k', '\\x00'
FROM (SELECT n, {_PLACE} FROM generate_series(0, %(records)s - 1, {BATCH}) AS n) AS made"""


def fill(connection: Connection, records: int, keys: int, days: int) -> None:
    """So many records, their batches and their roll-ups."""
    migrate(connection, "the ledger")
    connection.execute("SET statement_timeout = 0")
    for month in range(days // 28 + 2):
        day = datetime.fromtimestamp(END_MS / 1000 - month * 28 * 86_400, UTC).date()
        connection.execute("SELECT add_month(%s)", (day,))
    for first in range(0, records, 100_000):
        last = min(records, first + 100_000) - 1
        values = {"records": records, "keys": keys, "days": days, "first": first, "last": last}
        connection.execute(_RECORDS.replace("% ", "%% ").replace("%)", "%%)").encode(), values)
    connection.execute(_HEADS.replace("% ", "%% ").encode(), {"records": records})
    connection.execute("UPDATE cursor SET seq = %s", (records,))
    connection.execute("UPDATE fold SET folded_until_ms = %s", (END_MS // 900_000 * 900_000,))
    connection.execute("ANALYZE")
    with connection.transaction():
        rebuilt(connection)
    connection.execute("VACUUM ANALYZE")


def timed(name: str, rounds: int, work: Callable[[], object]) -> None:
    """The median and the least of some rounds, without the first."""
    found, walls = work(), []
    for _ in range(rounds):
        began = time.perf_counter()
        found = work()
        walls.append(time.perf_counter() - began)
    print(
        f"{name:60} {median(walls) * 1000:8.1f} ms, least {min(walls) * 1000:7.1f}   {found}",
        flush=True,
    )


def measure(reader: Reader, records: int, rounds: int) -> None:
    month_ms = (
        int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000),
        int(datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1000),
    )

    def usage(by: str, zone: str = "UTC", *bounds: int | None) -> str:
        rows = reader.usage(by.split(), *(bounds or month_ms), ZoneInfo(zone))
        return f"{len(rows)} rows"

    timed("usage of a month by team", rounds, lambda: usage("team"))
    for zone in ("UTC", "Asia/Shanghai", "Asia/Kolkata"):
        timed(
            f"usage of a month by team, key, model, {zone}",
            rounds,
            lambda z=zone: usage("team key model", z),
        )
        timed(f"usage of a month by day, {zone}", rounds, lambda z=zone: usage("day", z))
        timed(f"usage of a month by team, day, {zone}", rounds, lambda z=zone: usage("team day", z))
    timed(
        "usage of all time by team, month", rounds, lambda: usage("team month", "UTC", None, None)
    )
    timed("usage of a month by hour", rounds, lambda: usage("hour"))
    timed("usage of a month by label", 1, lambda: usage("label:cost_center"))
    timed("usage of a month by tag", 1, lambda: usage("tag:feature"))
    near = reader.narrowed(Stretch(through=records, from_ms=month_ms[0], to_ms=month_ms[1]))
    timed(
        "narrowed to a month",
        rounds,
        lambda: (
            reader.narrowed(Stretch(through=records, from_ms=month_ms[0], to_ms=month_ms[1]))
            == near
        ),
    )
    middle = Stretch(after=records // 2, through=records // 2 + 256)
    timed(
        "a page of 256 in the middle",
        rounds,
        lambda: sum(len(page.rows) for page in reader.pages(middle)),
    )
    timed("recent: an hour", rounds, lambda: len(reader.recent(END_MS - 3_600_000, END_MS)))
    timed("status", rounds, lambda: reader.status().records)
    timed("verify: the newest", rounds, lambda: reader.verify_step("newest", None, None).rows)
    timed(
        "verify: one step of roll-ups, a day",
        1,
        lambda: reader.verify_step("rollups", None, None).rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=256_000)
    parser.add_argument("--keys", type=int, default=500)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url")
    args = parser.parse_args()
    records = args.records // BATCH * BATCH
    url = args.url or postgres().database()
    with opened(url, writes=True) as connection:
        began = time.perf_counter()
        fill(connection, records, args.keys, args.days)
        print(f"{records:,} records made in {time.perf_counter() - began:.0f} s")
        for table in ("rollups", *(table for family in FAMILIES for table in family.tables)):
            print(table, connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone())
    measure(connect_reader(url, Path()), records, args.rounds)


if __name__ == "__main__":
    main()

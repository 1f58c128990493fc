"""Makes a ledger of millions of priced records by the real writer: chain, seals and roll-ups.

python -m tests.bench.real_book --records 10000000 --dir DIR [--keys 10000] [--days 30]
python -m tests.bench.real_book --records 10000000 --dir DIR --postgres URL [--writers 4]

The records are of November 2026. Half of the keys are in one team, and few keys make most requests.
Some records get their price by a later adjustment, and some are flagged. The same arguments make
the same records. `ledger.key` is in DIR.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import DatedRate, Terms
from proxy.core.records.repricing import reprice
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.ledger import BATCH_MAX, Batch
from proxy.ledger.postgresql.booking import PostgresBooker
from proxy.ledger.postgresql.line import Line
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.schema import migrate

FIRST_MS = 1_793_491_200_000  # 2026-11-01T00:00Z
DAY_MS = 86_400_000
TEAMS, MODELS = 50, 20
KEY = bytes(range(32))
BATCH = BATCH_MAX
UPSTREAMS = ("openai", "deepseek", "azure")
ROWS = tuple(
    PriceRow(
        model=f"model-{n}",
        currency="CNY" if n % 4 == 3 else "USD",
        input=f"{0.15 + n / 4:.2f}",
        cached=f"{0.05 + n / 16:.4f}",
        output=f"{1 + n * 0.75:.2f}",
    )
    for n in range(MODELS)
)
BOOK = PriceBook(
    Terms(
        currency="USD",
        timezone="UTC",
        rows=ROWS,
        fx={"CNY": (DatedRate("0.1387"),)},
        discounts={"openai": "0.075"},
        markups={"team-00": "0.05"},
    )
)


def _priced(record: UsageRecord) -> UsageRecord:
    found = BOOK.price_record(record, None)
    return msgspec.structs.replace(
        record, **{name: getattr(found, name) for name in found.__struct_fields__}
    )


def made(records: int, keys: int, days: int) -> Iterator[UsageRecord]:
    """So many records in the order of their start, with adjustments among them."""
    rng = random.Random(20261101)
    chance = rng.random
    late: list[UsageRecord] = []
    n = 0
    while n < records:
        if late and n % 2000 == 1999:
            record = late.pop()
            adjustment = reprice(record, [], record, BOOK.price_record(record, None)).adjustment
            assert adjustment is not None
            n += 1
            yield adjustment
            continue
        at_ms = FIRST_MS + n * days * DAY_MS // records + int(chance() * 900)
        key = int(keys * chance() ** 2)
        model = (key * 7 + int(chance() * 3)) % MODELS
        team = "team-00" if key % 2 else f"team-{1 + key // 2 % (TEAMS - 1):02d}"
        input_tokens = 200 + int(4000 * chance() ** 3)
        output_tokens = 20 + int(900 * chance() ** 2)
        cached = input_tokens // 2 if chance() < 0.4 else None
        stamp = f"{at_ms:012x}"
        record = UsageRecord(
            id=f"{stamp[:8]}-{stamp[8:]}-7{n % 4096:03x}-8000-{n:012x}",
            writer="w0",
            started_at_ms=at_ms,
            duration_ms=1200 + n % 900,
            first_byte_ms=240,
            key_id=f"key-{key:05d}",
            team=team,
            labels={"cost_center": str(4700 + key % 9)},
            tags={"feature": f"f{n % 7}"},
            endpoint="/v1/chat/completions",
            dialect="openai_chat",
            upstream=UPSTREAMS[model % 3],
            model_requested=f"model-{model}",
            model_served=f"model-{model}",
            stream=n % 3 == 0,
            status=200,
            outcome=Outcome.COMPLETED if n % 50 else Outcome.CLIENT_CLOSED,
            finish_reason="stop",
            upstream_request_id=f"chatcmpl-{n:016x}",
            input_tokens=input_tokens,
            cached_tokens=cached,
            output_tokens=output_tokens,
            input_source=Source.REPORTED,
            output_source=Source.REPORTED,
            source=Source.REPORTED if n % 40 else Source.ESTIMATED,
            inconsistent=n % 5000 == 7,
            usage_raw={"prompt_tokens": input_tokens, "completion_tokens": output_tokens},
            bytes_in=3500,
            bytes_out=21000,
            chunks=1 if n % 3 else 180,
        )
        n += 1
        if n % 2000 == 5:
            late.append(record)
            yield record
        else:
            yield _priced(record)


def batches(records: int, keys: int, days: int) -> Iterator[list[UsageRecord]]:
    """The records in the batches of the writer."""
    part: list[UsageRecord] = []
    for record in made(records, keys, days):
        part.append(record)
        if len(part) == BATCH:
            yield part
            part = []
    if part:
        yield part


def fill_sqlite(path: Path, records: int, keys: int, days: int) -> None:
    """A file at `path`. Nothing waits for the disk."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -400000"):
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection, str(path))
        now = [0]
        booker, seq = Booker(connection, KEY, lambda: now[0]), 0
        versions = [(BOOK.version, BOOK.terms())]
        for part in batches(records, keys, days):
            now[0] = part[-1].started_at_ms + 1300
            closes = list(enumerate(part, start=seq + 1))
            seq += len(part)
            booker.book(Batch("w0", closes, price_versions=versions))
            versions = []
            if seq // BATCH % 4000 == 0:
                print(f"{time.strftime('%H:%M:%S')} {seq:,}", flush=True)
    finally:
        connection.close()


def fill_postgres(url: str, records: int, keys: int, days: int, writers: int) -> None:
    """A database at `url`; the writers take turns, each with a chain of its own."""
    now = [0]
    lines = [Line(url) for _ in range(writers)]
    bookers = [PostgresBooker(line, KEY, lambda: now[0]) for line in lines]
    seqs = [0] * writers
    versions = [(BOOK.version, BOOK.terms())]
    for n, part in enumerate(batches(records, keys, days)):
        turn = n % writers
        now[0] = part[-1].started_at_ms + 1300
        closes = list(enumerate(part, start=seqs[turn] + 1))
        seqs[turn] += len(part)
        bookers[turn].book(Batch(f"w{turn}", closes, price_versions=versions))
        versions = []
        if n % 4000 == 0:
            print(f"{time.strftime('%H:%M:%S')} {sum(seqs):,}", flush=True)
    for line in lines:
        line.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--postgres")
    parser.add_argument("--writers", type=int, default=4)
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    (args.dir / "ledger.key").write_text(KEY.hex())
    (args.dir / "ledger.key").chmod(0o600)
    began = time.perf_counter()
    if args.postgres is None:
        fill_sqlite(args.dir / "ledger.db", args.records, args.keys, args.days)
    else:
        fill_postgres(args.postgres, args.records, args.keys, args.days, args.writers)
    print(f"{args.records:,} records made in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

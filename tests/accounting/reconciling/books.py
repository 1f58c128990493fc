"""Ledgers with prices, and bills of the same requests in the shapes of vendors."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.reconciling.bills import Bill
from proxy.accounting.reconciling.comparison import ReconcileAsk, Reconciled
from proxy.accounting.reconciling.job import reconcile
from proxy.core.money import decimal
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import Terms
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, Reader, connect_reader
from tests.ledger.samples import make_id, make_record, numbered, open_book

UTC = ZoneInfo("UTC")
NOVEMBER_MS = 1_793_491_200_000  # 2026-11-01, 00:00 UTC
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PRICES = PriceBook(
    Terms(
        currency="USD",
        timezone="UTC",
        rows=(
            PriceRow(model="gpt-4o", currency="USD", input="2.5", cached="1.25", output="10"),
            PriceRow(
                model="gpt-4o", currency="USD", input="4.25", cached="2.125", output="17",
                service_tier="priority",
            ),
            PriceRow(model="gpt-4o-mini", currency="USD", input="0.15", cached="0.075", output="0.6"),
            PriceRow(model="llama-free", currency="USD", input="0", output="0"),
            PriceRow(model="o3", currency="USD", input="7", output="28", search="0.01"),
        ),
        fx={},
        discounts={},
        markups={},
    )
)  # fmt: skip


def priced(n: int, **changes: Any) -> UsageRecord:
    """The n-th request of November, priced by PRICES."""
    fields: dict[str, Any] = {
        "id": make_id(n, NOVEMBER_MS),
        "started_at_ms": NOVEMBER_MS + n * HOUR_MS + 600_000,
        "upstream": "openai",
        "model_requested": "gpt-4o",
        "model_served": "gpt-4o",
        "input_tokens": 1000 + 7 * n,
        "cached_tokens": 0,
        "output_tokens": 200 + 3 * n,
        "upstream_request_id": f"gen-{n}",
        "price_version": PRICES.version,
    }
    record = make_record(n, **(fields | changes))
    found = PRICES.price_record(record)
    return msgspec.structs.replace(
        record,
        cost_nano=found.cost_nano,
        charge_nano=found.charge_nano,
        currency=found.currency,
        price_model=found.price_model,
        price_currency=found.price_currency,
        cost_original_nano=found.cost_original_nano,
    )


def ledger_of(directory: Path, records: Iterable[UsageRecord]) -> Reader:
    """A ledger in `directory` with these records and their prices."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ledger.db").unlink(missing_ok=True)
    connection, book = open_book(directory / "ledger.db")
    versions = [(PRICES.version, PRICES.terms())]
    after = 0
    for batch in _batches(records, 64):
        book.book(Batch("w0", numbered(*batch, after=after), price_versions=versions))
        after += len(batch)
    connection.close()
    return connect_reader("sqlite:ledger.db", directory)


def _batches(records: Iterable[UsageRecord], size: int) -> Iterable[list[UsageRecord]]:
    left = list(records)
    return [left[at : at + size] for at in range(0, len(left), size)]


def by_request(records: Iterable[UsageRecord], **changes: Callable[[UsageRecord], object]) -> str:
    """OpenRouter's csv of these requests; `changes` say other cells."""
    names = "generation_id created_at cost_total tokens_prompt tokens_completion tokens_cached model_permaslug cancelled".split()
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    for record in records:
        cells = {
            "generation_id": record.upstream_request_id,
            "created_at": record.started_at_ms,
            "cost_total": decimal(record.cost_nano or 0),
            "tokens_prompt": record.input_tokens,
            "tokens_completion": record.output_tokens,
            "tokens_cached": record.cached_tokens,
            "model_permaslug": f"openai/{record.model_served}",
            "cancelled": "false",
        }
        cells |= {name: change(record) for name, change in changes.items()}
        writer.writerow([cells[name] for name in names])
    return out.getvalue()


def by_day(
    records: Iterable[UsageRecord],
    *,
    shift_ms: int = 0,
    shown: Callable[[int], str] = decimal,
) -> str:
    """OpenAI's costs of these requests. `shift_ms`: how much later its days begin."""
    sums: dict[int, dict[str, int]] = {}
    for record in records:
        at = (record.started_at_ms - shift_ms) // DAY_MS * DAY_MS
        day = sums.setdefault(at, {})
        name = str(record.model_served)
        day[name] = day.get(name, 0) + (record.cost_nano or 0)
    data = [
        {
            "object": "bucket",
            "start_time": at // 1000,
            "end_time": (at + DAY_MS) // 1000,
            "results": [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": shown(nano), "currency": "usd"},
                    "line_item": f"{name}, input",
                    "project_id": None,
                }
                for name, nano in day.items()
            ],
        }
        for at, day in sorted(sums.items())
    ]
    return json.dumps({"object": "page", "data": data, "has_more": False})


def held(
    directory: Path, records: Sequence[UsageRecord], bill: str | bytes, vendor: str, **more: Any
) -> Reconciled:
    """What holding these records against a bill comes to."""
    return held_against(ledger_of(directory, records), directory, bill, vendor, **more)


def held_against(
    reader: Reader, directory: Path, bill: str | bytes, vendor: str, **more: Any
) -> Reconciled:
    """What holding this ledger against a bill, kept in `directory`, comes to."""
    path = directory / "bill"
    path.write_bytes(bill if isinstance(bill, bytes) else bill.encode())
    ask = {name: more.pop(name) for name in ("from_ms", "to_ms", "level") if name in more}
    ask["currency"] = more.get("currency")
    if (rates := more.pop("rates", None)) is not None:
        ask["rates"] = rates
        more.pop("currency")
    return reconcile(
        Bill(path, vendor, **more), ReconcileAsk(upstreams=("openai",), **ask), reader, UTC
    )

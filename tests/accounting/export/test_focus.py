"""FOCUS 1.2: its columns, types and nulls against the specification's, and its sums."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.accounting.export.focus import COLUMNS, OWN_COLUMNS, Focus
from proxy.core.records.by_hand import EnteredAmount, Entering, Whose, entry
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from proxy.ledger.reading import Stretch
from proxy.ledger.sqlite.reader import SqliteReader
from tests.ledger.samples import START_MS, make_id, make_record, numbered, open_book

SHANGHAI = ZoneInfo("Asia/Shanghai")
# Of the specification, version 1.2: feature level (Mandatory, Recommended, Conditional), whether
# nulls are allowed, and the type, of every column.
SPECIFIED = """
AvailabilityZone R null String | BilledCost M - Decimal | BillingAccountId M - String | BillingAccountName M null String | BillingAccountType C - String
BillingCurrency M - String | BillingPeriodEnd M - Time | BillingPeriodStart M - Time | CapacityReservationId C null String | CapacityReservationStatus C null String
ChargeCategory M - String | ChargeClass M null String | ChargeDescription M null String | ChargeFrequency R - String | ChargePeriodEnd M - Time | ChargePeriodStart M - Time
CommitmentDiscountCategory C null String | CommitmentDiscountId C null String | CommitmentDiscountName C null String | CommitmentDiscountQuantity C null Decimal
CommitmentDiscountStatus C null String | CommitmentDiscountType C null String | CommitmentDiscountUnit C null String | ConsumedQuantity C null Decimal | ConsumedUnit C null String
ContractedCost M - Decimal | ContractedUnitPrice C null Decimal | EffectiveCost M - Decimal | InvoiceId R null String | InvoiceIssuerName M - String | ListCost M - Decimal
ListUnitPrice C null Decimal | PricingCategory C null String | PricingCurrency C - String | PricingCurrencyContractedUnitPrice C null Decimal | PricingCurrencyEffectiveCost C - Decimal
PricingCurrencyListUnitPrice C null Decimal | PricingQuantity M null Decimal | PricingUnit M null String | ProviderName M - String | PublisherName M - String | RegionId C null String
RegionName C null String | ResourceId C null String | ResourceName C null String | ResourceType C null String | ServiceCategory M - String | ServiceName M - String
ServiceSubcategory R - String | SkuId C null String | SkuMeter C null String | SkuPriceDetails C null JSON | SkuPriceId C null String | SubAccountId C null String
SubAccountName C null String | SubAccountType C null String | Tags C null JSON
"""
TABLE = {
    name: (level, nulls == "null", kind)
    for name, level, nulls, kind in (
        entry.split() for entry in re.split(r"[|\n]", SPECIFIED) if entry.strip()
    )
}
SHAPES = {
    "Decimal": re.compile(r"-?[0-9]+(\.[0-9]+)?"),
    "Time": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
    "JSON": re.compile(r"\{.*\}"),
    "String": re.compile(r".+"),
}
PRICED: dict[str, Any] = {
    "cost_nano": 1_500_000,
    "charge_nano": 1_600_000,
    "currency": "USD",
    "price_model": "deepseek-*",
    "price_version": "0123456789abcdef",
}


def exported(
    tmp_path: Path, *records: UsageRecord, booked_ms: int = START_MS
) -> tuple[Focus, list[dict[str, str]]]:
    connection, book = open_book(tmp_path / "ledger.db")
    book._now_ms = lambda: booked_ms  # type: ignore[method-assign]
    book.book(Batch("w0", numbered(*records)))
    connection.close()
    focus = Focus(SHANGHAI)
    content = focus.begin() + b"".join(
        focus.lines(page.rows)
        for page in SqliteReader(tmp_path / "ledger.db").pages(Stretch(through=len(records)))
    )
    return focus, list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def some() -> list[UsageRecord]:
    """Requests of every kind that has a cost, and corrections."""
    first = make_record(0, **PRICED)
    return [
        first,
        make_record(
            1, **PRICED | {"team": None, "labels": {}, "model_served": None, "duration_ms": 0}
        ),
        make_record(2, **PRICED | {"input_tokens": None, "output_tokens": None, "cost_nano": 0}),
        make_record(3, **PRICED | {"tags": {"feature": "=1+1;x"}, "upstream_account": "acc-1"}),
        make_record(4, **PRICED | {"cost_original_nano": 7, "price_currency": "CNY"}),
        make_record(
            5,
            **PRICED
            | {"kind": "adjustment", "adjusts": first.id, "reason": "rerate", "cost_nano": -300_000}
            | {"input_tokens": 0, "output_tokens": 0},
        ),
    ]


def test_the_columns_are_those_of_the_specification_and_own_ones_behind_them() -> None:
    assert len(TABLE) == 57
    assert set(COLUMNS) <= set(TABLE)
    assert {name for name, (level, _, _) in TABLE.items() if level == "M"} <= set(COLUMNS)
    assert list(COLUMNS) == sorted(COLUMNS)
    assert all(re.fullmatch(r"x_[A-Z][A-Za-z]+", name) for name in OWN_COLUMNS)


def test_each_cell_has_its_type_and_is_null_only_where_that_is_allowed(tmp_path: Path) -> None:
    _, rows = exported(tmp_path, *some())
    for row in rows:
        assert list(row) == [*COLUMNS, *OWN_COLUMNS]
        for name in COLUMNS:
            _, nullable, kind = TABLE[name]
            assert row[name] or nullable, name
            assert not row[name] or SHAPES[kind].fullmatch(row[name]), (name, row[name])
        for name in (
            "PricingQuantity",
            "ConsumedQuantity",
            "PricingCategory",
            "SkuId",
            "SkuPriceId",
        ):
            assert row[name], "of use that is no correction"
        assert (row["SubAccountId"] == "") == (row["SubAccountType"] == "")
        assert row["ListCost"] == row["ContractedCost"] == row["EffectiveCost"] == row["BilledCost"]
        start, end = (datetime.fromisoformat(row[f"ChargePeriod{x}"]) for x in ("Start", "End"))
        assert start < end and row["ChargeCategory"] == "Usage"


def test_the_sums_are_the_ledgers_and_what_has_no_cost_is_counted(tmp_path: Path) -> None:
    focus, rows = exported(tmp_path, *some(), make_record(6, cost_nano=None))
    assert focus.left_out == 1 and len(rows) == 6
    billed = sum(Fraction(row["BilledCost"]) for row in rows)
    assert billed * 10**9 == sum(record.cost_nano or 0 for record in some())
    charged = sum(Fraction(row["x_Charge"]) for row in rows)
    assert charged * 10**9 == sum(record.charge_nano or 0 for record in some())


def test_the_billing_month_is_that_of_the_zone_in_utc(tmp_path: Path) -> None:
    _, [row, *_] = exported(tmp_path, *some())
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2026-10-31T16:00:00Z",
        "2026-11-30T16:00:00Z",
    )


@pytest.mark.parametrize(("days", "charge_class"), [(1, ""), (40, "Correction")])
def test_a_correction_of_a_month_that_is_over_is_called_one(
    tmp_path: Path, days: int, charge_class: str
) -> None:
    _, rows = exported(tmp_path, *some(), booked_ms=START_MS + days * 86_400_000)
    assert [row["ChargeClass"] for row in rows] == [""] * 5 + [charge_class]
    assert rows[-1]["BilledCost"] == "-0.0003" and rows[-1]["x_Adjusts"] == make_id(0)


def test_an_entry_by_hand_is_an_amount_and_no_use(tmp_path: Path) -> None:
    order = Entering(name="r1", stamp_ms=START_MS, started_at_ms=START_MS, reason="rebate")
    amount = EnteredAmount(cost_nano=-5, charge_nano=None, currency="USD")
    [record] = entry(order, Whose(team="lab", upstream="openai"), amount)
    _, [row] = exported(tmp_path, record)
    assert (row["ChargeCategory"], row["ChargeFrequency"]) == ("Adjustment", "One-Time")
    assert (row["ChargeDescription"], row["BilledCost"]) == ("rebate", "-0.000000005")
    assert (row["ProviderName"], row["SubAccountId"], row["ResourceId"]) == ("openai", "lab", "")
    for name in COLUMNS:
        _, nullable, kind = TABLE[name]
        assert row[name] or nullable, name
        assert not row[name] or SHAPES[kind].fullmatch(row[name]), (name, row[name])
        of_use = name.startswith(("Consumed", "Sku")) or name in ("PricingQuantity", "PricingUnit")
        assert not (of_use and row[name]), name


def test_labels_and_tags_are_one_object_without_a_formula(tmp_path: Path) -> None:
    _, rows = exported(tmp_path, *some())
    assert json.loads(rows[3]["Tags"]) == {"cost_center": "4711", "request/feature": "=1+1;x"}
    assert rows[1]["Tags"] == "" and ";" not in rows[3]["Tags"]


def test_no_name_is_a_formula(tmp_path: Path) -> None:
    odd = make_record(0, **PRICED | {"model_served": "=1+1", "team": "@x", "key_id": "-k"})
    _, [row] = exported(tmp_path, odd)
    assert (row["SkuId"], row["SubAccountId"], row["ResourceId"]) == ("'=1+1", "'@x", "'-k")
    assert row["ChargeDescription"].startswith("'=1+1")

"""Ledger records as FOCUS 1.2, the FinOps Open Cost and Usage Specification.

A row is one record: what its vendor bills for one request, or a correction of that. The vendor is
provider, publisher and issuer of the invoice, the team is the sub-account, the key is the resource.
What the ledger has beside that stands in columns of its own, `x_…`.

FOCUS knows no row without a cost, so a record whose cost is not known is left out and counted. One
request has several unit prices (input, cached, output), so there are no columns of unit prices, and
list, contracted and effective cost are the billed cost.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

import msgspec

from proxy.accounting.export.records import harmless
from proxy.core.calendar import Calendar, Per
from proxy.core.money import decimal
from proxy.core.records import canonical
from proxy.core.records.by_hand import BY_HAND, NOBODY
from proxy.core.records.canonical import Value

COLUMNS: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingCurrency",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
)
OWN_COLUMNS: Final = (
    "x_RecordId",
    "x_Seq",
    "x_Kind",
    "x_Adjusts",
    "x_Reason",
    "x_Charge",
    "x_PricingCurrencyCost",
    "x_Model",
    "x_ModelRequested",
    "x_Outcome",
    "x_Source",
    "x_Requests",
    "x_InputTokens",
    "x_CachedTokens",
    "x_OutputTokens",
    "x_ReasoningTokens",
    "x_UpstreamRequestId",
)
# What an entry by hand does not have: it is an amount, and no use.
_OF_USE: Final = (
    "ConsumedQuantity",
    "ConsumedUnit",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
)
TAG_PREFIX: Final = "request/"  # tags of requests, beside the labels of teams and keys
_PLACE: Final = {name: place for place, name in enumerate(canonical.COLUMNS)}
_SEPARATORS_IN_JSON: Final = str.maketrans({";": "\\u003b", "|": "\\u007c"})


class Focus:
    """FOCUS 1.2 as csv in UTF-8. `zone` is that of billing months; times are in UTC.

    `left_out` counts the records without a known cost.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._months = Calendar(zone)
        self.left_out = 0

    def begin(self) -> bytes:
        """The head."""
        return _encoded([[*COLUMNS, *OWN_COLUMNS]])

    def lines(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """One line a record with a known cost, in the order given."""
        known = [row for row in rows if row[_PLACE["cost_nano"]] is not None]
        self.left_out += len(rows) - len(known)
        return _encoded(map(self._cells, known))

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _cells(self, row: Sequence[Value]) -> list[Value]:
        said = dict(zip(canonical.COLUMNS, row, strict=True))
        cost, start_ms, duration_ms = said["cost_nano"], said["started_at_ms"], said["duration_ms"]
        assert isinstance(cost, int) and isinstance(start_ms, int) and isinstance(duration_ms, int)
        month = self._months.window(Per.MONTH, start_ms)
        usage, by_hand = said["kind"] == "usage", said["origin"] == BY_HAND
        model = str(said["model_served"] or said["model_requested"] or said["endpoint"])
        team = said["team"]
        tokens = _sum(said["input_tokens"], said["output_tokens"])
        # Without a count of tokens the request itself is what was used.
        quantity, unit = (int(usage), "Requests") if tokens is None else (tokens, "Tokens")
        billed, currency = decimal(cost), said["currency"]
        focus: list[Value] = [
            billed,
            said["upstream_account"] or said["upstream"],
            said["upstream"],
            currency,
            _utc(month.end_ms or 0),
            _utc(month.start_ms),
            "Adjustment" if by_hand else "Usage",
            None if usage or not self._closed(said, month.end_ms) else "Correction",
            said["reason"]
            if by_hand
            else f"{'' if usage else 'Correction of '}{model}, {quantity} {unit.lower()}",
            "One-Time" if by_hand else "Usage-Based",
            _utc(start_ms - start_ms % 1000 + max(1000, -(-duration_ms // 1000) * 1000)),
            _utc(start_ms),
            quantity,
            unit,
            billed,
            billed,
            None,
            said["upstream"],
            billed,
            "Standard",
            said["price_currency"] or currency,
            quantity,
            unit,
            said["upstream"],
            said["upstream"],
            None if said["key_id"] == NOBODY else said["key_id"],
            None if said["key_id"] == NOBODY else "API Key",
            "AI and Machine Learning",
            said["endpoint"],
            "Generative AI",
            model,
            unit,
            _object({"x_PriceVersion": said["price_version"]}),
            said["price_model"] or model,
            team,
            team,
            None if team is None else "Team",
            _tags(said["labels"], said["tags"]),
        ]
        if by_hand:
            for name in _OF_USE:
                focus[COLUMNS.index(name)] = None
        own = _own_cells(said, model)
        amounts = {billed, *own[5:7]}
        return [
            harmless(cell) if isinstance(cell, str) and cell not in amounts else cell
            for cell in (*focus, *own)
        ]

    def _closed(self, said: dict[str, Value], month_end_ms: int | None) -> bool:
        """Whether a correction came when the month of its record was over."""
        booked_ms = said["booked_at_ms"]
        return isinstance(booked_ms, int) and month_end_ms is not None and booked_ms >= month_end_ms


def _own_cells(said: dict[str, Value], model: str) -> list[Value]:
    """The cells of OWN_COLUMNS; the sixth and seventh are amounts."""
    return [
        said["id"],
        said["seq"],
        said["kind"],
        said["adjusts"],
        said["reason"],
        _amount(said["charge_nano"]),
        _amount(said["cost_original_nano"]),
        model,
        said["model_requested"],
        said["outcome"],
        said["source"],
        int(said["kind"] == "usage"),
        said["input_tokens"],
        said["cached_tokens"],
        said["output_tokens"],
        said["reasoning_tokens"],
        said["upstream_request_id"],
    ]


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _amount(nano: Value) -> str | None:
    return decimal(nano) if isinstance(nano, int) else None


def _sum(*counts: Value) -> int | None:
    known = [count for count in counts if isinstance(count, int)]
    return sum(known) if known else None


def _tags(labels: Value, tags: Value) -> str | None:
    """Labels, and tags of the request with a prefix; None where there are none."""
    found = msgspec.json.decode(labels, type=dict[str, str]) if isinstance(labels, str) else {}
    if isinstance(tags, str):
        of_request = msgspec.json.decode(tags, type=dict[str, str])
        found |= {f"{TAG_PREFIX}{name}": value for name, value in of_request.items()}
    return _object(found)


def _object(members: dict[str, Value] | dict[str, str]) -> str | None:
    known = {name: value for name, value in members.items() if value is not None}
    if not known:
        return None
    return msgspec.json.encode(known, order="sorted").decode().translate(_SEPARATORS_IN_JSON)


def _encoded(lines: Iterable[Sequence[Value]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue().encode()

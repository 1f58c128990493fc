"""What a dead process left open is priced by the alias that held when it began."""

from __future__ import annotations

import msgspec
import pytest

from proxy.accounting.sent_prices import SentPrices
from proxy.core.entries import Opened
from proxy.core.pricing.amounts import NoPrices
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import Terms
from proxy.core.records.settlement import recovered

OPENED = Opened(
    id="id",
    started_at_ms=1_000,
    key_id="alice",
    endpoint="/v1/chat/completions",
    upstream="up",
    model_requested="fast",
    input_estimate=1_000_000,
)
RATES = {"old": "1", "new": "9", "older": "5", "fast": "100"}


def book(**aliases: str) -> PriceBook:
    rows = tuple(
        PriceRow(model=name, currency="USD", input=rate, output=rate)
        for name, rate in RATES.items()
    )
    terms = Terms(
        currency="USD", timezone="UTC", rows=rows, fx={}, discounts={}, markups={},
        aliases={"up": aliases} if aliases else {},
    )  # fmt: skip
    return PriceBook(terms)


@pytest.mark.parametrize(
    ("sent", "aliases", "priced"),
    [
        ("old", {"fast": "old"}, "old"),
        ("old", {"fast": "new"}, "old"),
        ("old", {}, "old"),  # the alias is gone
        ("old", {"fast": "new", "old": "older"}, "old"),  # what it stood for is an alias now
        (None, {"fast": "new"}, "new"),  # of a journal that does not tell yet
        (None, {}, "fast"),
    ],
)
def test_an_alias_is_priced_as_what_was_sent(
    sent: str | None, aliases: dict[str, str], priced: str
) -> None:
    now, told = book(**aliases), {}
    opened = msgspec.structs.replace(OPENED, model_sent=sent)
    prices = SentPrices(now, [opened, opened], told.__setitem__)
    record = recovered(opened, [], "w0", 4_500, prices.of(opened))
    assert (record.model_requested, record.price_model) == ("fast", priced)
    assert record.cost_nano == int(RATES[priced]) * 10**9
    # The terms that it pins say the same, so that it can be explained and priced anew.
    assert told.keys() == {record.price_version}
    for terms in told.values():
        pinned = PriceBook(msgspec.json.decode(terms, type=Terms))
        assert pinned.price_record(record).cost_nano == record.cost_nano


def test_without_prices_there_is_nothing_to_tell() -> None:
    prices = NoPrices()
    opened = msgspec.structs.replace(OPENED, model_sent="old")
    assert SentPrices(prices, [opened], pytest.fail).of(opened) is prices

"""A record as the vendor should bill it."""

from __future__ import annotations

from proxy.core.reconciling.lines import own_line
from proxy.core.usage import Outcome, Source
from tests.ledger.samples import make_record


def test_the_amount_is_the_one_in_the_bills_currency() -> None:
    record = make_record(cost_nano=14, currency="USD", cost_original_nano=100, price_currency="CNY")
    assert [own_line(record, currency).cost_nano for currency in ("CNY", "USD", "EUR")] == [
        100,
        14,
        None,
    ]


def test_how_it_ended_and_what_it_used() -> None:
    cut = own_line(make_record(outcome=Outcome.CUT, source=Source.ESTIMATED), "USD")
    guessed = own_line(make_record(source=Source.COUNTED), "USD")
    failed = own_line(make_record(input_tokens=0, output_tokens=None, cost_nano=0), "USD")
    assert (cut.cut, cut.guessed) == (True, False)
    assert (guessed.cut, guessed.guessed) == (False, True)
    assert failed.failed and not guessed.failed
    assert own_line(make_record(service_tier="Priority"), "USD").tier == "priority"
    assert own_line(make_record(service_tier="default"), "USD").tier is None

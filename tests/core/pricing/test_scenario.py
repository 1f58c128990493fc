"""Other terms, and which of a record's own stay."""

from __future__ import annotations

import msgspec

from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.scenario import Scenario
from proxy.core.pricing.terms import DatedRate, Terms

ROW = PriceRow(model="*", currency="CNY", input="1", output="2")
OWN = Terms(
    currency="USD",
    timezone="UTC",
    rows=(ROW,),
    fx={"CNY": (DatedRate("0.14"),)},
    discounts={"a": "0.1"},
    markups={"team": "0.05"},
    aliases={"a": {"fast": "gpt-4o"}},
)


def test_what_is_not_asked_for_stays() -> None:
    assert Scenario().terms(OWN, ["a", "b"]) == OWN
    other = PriceRow(model="x", currency="USD", input="3")
    assert Scenario(rows=(other,)).terms(OWN, ["a"]) == msgspec.structs.replace(OWN, rows=(other,))


def test_a_discount_is_of_all_upstreams_and_takes_the_place_of_their_own() -> None:
    assert Scenario(discount="0.25").terms(OWN, ["a", "b"]).discounts == {"a": "0.25", "b": "0.25"}
    assert Scenario(discount="0").terms(OWN, ["a", "b"]).discounts == {}


def test_a_request_for_another_model_is_answered_by_it() -> None:
    scenario = Scenario(models=(("gpt-4o*", "mini"), ("o3", "o4")))
    assert scenario.names("GPT-4o", "gpt-4o-2024-08-06") == ("mini", "mini")
    assert scenario.names("auto", "o3") == ("auto", "o4")
    assert scenario.names(None, None) == (None, None)
    assert scenario.names("fast", "fast") == ("fast", "fast")
    assert scenario.terms(OWN, []).aliases == {}

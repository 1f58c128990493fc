"""What a list says of a model beside its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.terms import DatedRate, Terms
from proxy.dataplane.endpoints.model_details import detailed
from tests.dataplane.endpoints.test_models import get
from tests.support.raw import Visit, raw_upstream
from tests.support.running import config, running

BOOK = PriceBook(
    Terms(
        currency="USD",
        timezone="UTC",
        rows=(
            PriceRow(model="a", currency="USD", input="0.28", cached="0.028", output="0.42"),
            PriceRow(model="cny", currency="CNY", input="10", output="20"),
        ),
        fx={"CNY": (DatedRate("0.14"),)},
        discounts={"v": "0.1"},
        markups={"research": "0.05"},
    )
)


@pytest.mark.parametrize(
    ("entry", "added"),
    [
        ({"id": "x"}, {}),
        ({"id": "x", "max_model_len": 4096}, {"context_length": 4096}),
        ({"id": "x", "context_window": 8, "max_completion_tokens": 2}, {"context_length": 8}),
        (
            {"id": "x", "context_length": 9, "top_provider": {"max_completion_tokens": 3}},
            {"max_completion_tokens": 3},
        ),
        ({"id": "x", "max_input_tokens": 7, "max_tokens": 5},
         {"context_length": 7, "max_completion_tokens": 5}),
        ({"id": "x", "context_length": 0, "max_tokens": True}, {}),
    ],
)  # fmt: skip
def test_what_the_vendor_says_under_other_names(
    entry: dict[str, object], added: dict[str, object]
) -> None:
    assert detailed(entry, BOOK, "v", None, 0) == {**entry, **added}


def test_the_price_is_what_the_team_pays() -> None:
    made = detailed({"id": "a", "pricing": {"prompt": "9"}}, BOOK, "v", "research", 0)
    assert made["pricing"] == {
        "prompt": "0.0000002646",
        "completion": "0.0000003969",
        "input_cache_read": "0.00000002646",
        "input_cache_write": "0.0000002646",
        "internal_reasoning": "0.0000003969",
    }
    assert detailed({"id": "cny"}, BOOK, "w", None, 0)["pricing"]["prompt"] == "0.0000014"
    assert "pricing" not in detailed({"id": "b", "pricing": {"prompt": "9"}}, BOOK, "v", None, 0)


async def test_the_list_and_one_model_with_a_bare_slash(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(
            b'{"object":"list","data":[{"id":"org/name","object":"model","max_model_len":4096}]}'
        )

    blocks = {
        "models": {"enrich": True},
        "prices": [{"model": "org/name", "input": "1", "output": "2"}],
    }
    async with (
        raw_upstream(script) as upstream,
        running(tmp_path, config(upstream.url, **blocks)) as proxy,
    ):
        (listed,) = json.loads((await get(proxy, "/v1/models")).body)["data"]
        one = json.loads((await get(proxy, "/v1/models/org/name")).body)
    assert listed == one
    assert (one["context_length"], one["max_model_len"]) == (4096, 4096)
    assert one["pricing"]["prompt"] == "0.000001"

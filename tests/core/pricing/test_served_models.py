"""A dear model behind a cheap name goes beyond a strict limit on money once, and not again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.price_terms import price_book_of
from proxy.config.settings import Price, Settings, UpstreamSettings
from proxy.core.pricing import served_models
from proxy.core.pricing.amounts import Counts
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.served_models import Served, ServedModels
from tests.dataplane.test_hold import Answer, ask, error, limited, nothing_held, post
from tests.ledger.samples import make_record
from tests.support.raw import Visit, raw_upstream
from tests.support.running import Running, running

NOON_MS = 1_793_500_000_000
UP = UpstreamSettings(base_url="http://h")
FLAT = [
    {"model": "alias", "input": "1", "output": "1"},
    {"model": "f-*", "input": "0", "output": "0"},
    {"model": "cheap", "input": "1", "output": "1"},
    {"model": "dear-1", "input": "1000", "output": "1000"},
    {"model": "dear-*", "input": "1000", "output": "1000"},
]
HARD = {"limit": "0.02 USD/total", "enforce": "strict", "name": "hard"}


def book(*prices: Price, **upstream: str) -> PriceBook:
    changed = UpstreamSettings(base_url="http://h", **upstream)
    return price_book_of(Settings(upstreams={"up": changed, "other": UP}, prices=prices))


FLAT_BOOK = book(*(Price(**row) for row in FLAT))


@pytest.mark.parametrize(
    ("seen", "asked", "found"),
    [
        ([], "alias", ()),
        ([("up", "alias", "dear-1")], "alias", ("dear-1",)),
        ([("up", "alias", "dear-1")], "ALIAS", ("dear-1",)),
        ([("up", "f-1", "dear-2"), ("up", "f-1", "dear-3")], "f-1", ("dear-2",)),
        ([("up", "alias", "dear-1")], "cheap", ()),
        ([("other", "alias", "dear-1")], "alias", ()),
        ([("up", "alias", "alias-2026-01-01")], "alias", ()),
        ([("up", "f-1", "dear-1")], "f-2", ("dear-1",)),
        ([("up", "f-1", "dear-1"), ("up", "f-2", "f-2")], "f-2", ()),
        ([("up", "unpriced", "dear-1")], "unpriced", ()),
    ],
    ids=[
        "nothing is known", "an alias", "in other letters", "what is priced alike is kept once",
        "of another name", "at another upstream", "a dated name of the same price",
        "a name made up under the same glob", "a name that was served as itself", "no price",
    ],
)  # fmt: skip
def test_what_is_known_of_a_name(
    seen: Sequence[Served], asked: str, found: tuple[str, ...]
) -> None:
    assert ServedModels(FLAT_BOOK, seen).of("up", asked) == found


def test_made_up_names_take_a_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_models, "NAMES_MAX", 3)
    served = ServedModels(FLAT_BOOK, [("up", f"f-{n}", f"dear-{n}x") for n in range(9)])
    assert len(served.seen) == 3
    assert served.of("up", "f-8") == ("dear-0x",), "priced like the first"
    served.learn_all([("up", "alias", "dear-1")])
    assert served.of("up", "alias") == ("dear-1",), "a name that a row writes out has its place"


def test_a_book_of_other_prices_begins_with_what_was_seen() -> None:
    served = ServedModels(FLAT_BOOK)
    record = make_record(1, upstream="up", model_requested="alias", model_served="alias-x")
    served.learn(record)
    assert served.of("up", "alias") == ()
    dearer = book(Price(**FLAT[0]), Price(model="alias-*", input="9", output="9"))
    assert ServedModels(dearer, served.seen).of("up", "alias") == ("alias-x",)


NAMES = ["a", "A", "ab", "b", "abc"]
GLOBS = ["a", "ab", "a*", "*b", "*", "b", "?bc"]
MONEY = st.integers(0, 50).map(str)
ROWS = st.builds(
    Price,
    model=st.sampled_from(GLOBS),
    input=MONEY,
    output=MONEY,
    request=st.none() | MONEY,
    service_tier=st.none() | st.just("flex") | st.just("priority"),
    above_input_tokens=st.none() | st.integers(0, 60),
    hours_utc=st.none() | st.just("10:00-22:00"),
)


@given(
    rows=st.lists(ROWS, max_size=6, unique_by=lambda row: (row.model, row.service_tier, row.above_input_tokens, row.hours_utc)),
    seen=st.lists(st.tuples(st.just("up"), st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=6),
    tier=st.sampled_from([None, "flex", "Priority", "other"]),
    at_ms=st.integers(0, 86_400_000),
    tokens=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    policy=st.sampled_from(["served", "requested"]),
)  # fmt: skip
def test_the_bound_holds_for_whatever_was_served_before(
    rows: list[Price],
    seen: list[Served],
    tier: str | None,
    at_ms: int,
    tokens: tuple[int, int],
    policy: str,
) -> None:
    prices = book(*rows, served_price=policy)
    served = ServedModels(prices, seen)
    counts = Counts(tokens[0], None, None, None, tokens[1], None, None)
    for upstream, requested, name in seen:
        bound = prices.charge_bound_nano(
            upstream, None, requested, 100, 100, at_ms, None, served.of(upstream, requested)
        )
        charge = prices.price(
            counts, upstream=upstream, team=None, model_requested=requested, model_served=name,
            service_tier=tier, started_at_ms=at_ms, status=200,
        ).charge_nano  # fmt: skip
        assert charge is None or bound is None or charge <= bound


def serving(model: str, input_tokens: int = 10, output_tokens: int = 100) -> Answer:
    usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}

    async def answer(visit: Visit) -> None:
        choice = {"message": {"content": "x"}, "finish_reason": "stop"}
        said = {"id": "c", "model": model, "choices": [choice], "usage": usage}
        await visit.answer(json.dumps(said).encode())

    return answer


async def breaches(proxy: Running) -> int:
    """How often the limit was gone beyond, as far as nobody was told yet."""
    told = proxy.server.services.quota.warnings(proxy.server.services.now_ms())
    return sum(getattr(one, "count", 0) for one in told)


@pytest.mark.parametrize("name", ["alias", "f-1"])
async def test_the_first_surprise_is_charged_and_the_second_request_is_refused(
    tmp_path: Path, name: str
) -> None:
    settings: dict[str, object] = {}
    body = ask(name, max_tokens=100)
    async with raw_upstream(serving("dear-1")) as upstream:
        settings = limited(upstream.url, HARD | {"limit": "0.3 USD/total"}, prices=FLAT)
        async with running(tmp_path, settings) as proxy:
            assert (await post(proxy, body)).status == 200
            [row] = await proxy.records(1)
            assert row["charge_nano"] == 110_000_000, "as it was served"
            assert await breaches(proxy) == 1
            refused = await post(proxy, body)
            assert (refused.status, error(refused)["code"]) == (429, "insufficient_quota")
            assert (await post(proxy, ask("cheap", max_tokens=100))).status == 200, "of itself"
            await proxy.records(2)
            await proxy.server.reload()
            assert (await post(proxy, body)).status == 429, "after a reload"
            ledger = proxy.data_dir / "ledger.db"
            ledger.rename(ledger.with_name("away"))
            before = proxy.server.snapshot
            await proxy.server.reload()
            assert proxy.server.snapshot is not before
            ledger.with_name("away").rename(ledger)
            assert (await post(proxy, body)).status == 429, "after one without the ledger"
            await nothing_held(proxy)
        async with running(tmp_path, settings) as proxy:
            assert (await post(proxy, body)).status == 429, "after a restart"
            if name == "f-1":
                assert (await post(proxy, ask("f-2", max_tokens=100))).status == 429, "a new name"
            await nothing_held(proxy)
        assert len(upstream.visits) == 2


async def test_a_contract_on_the_model_that_was_asked_for_has_no_surprise(tmp_path: Path) -> None:
    async with raw_upstream(serving("dear-1")) as upstream:
        mock = {"base_url": upstream.url, "api_key": "k", "served_price": "requested"}
        settings = limited(upstream.url, HARD, prices=FLAT, upstreams={"mock": mock})
        async with running(tmp_path, settings) as proxy:
            for _ in range(3):
                assert (await post(proxy, ask("alias", max_tokens=100))).status == 200
            rows = await proxy.records(3)
            assert {(row["cost_nano"], row["charge_nano"], row["price_model"]) for row in rows} == {
                (110_000, 110_000, "alias")
            }
            assert {row["model_served"] for row in rows} == {"dear-1"}
            assert await breaches(proxy) == 0


async def test_where_the_price_of_what_answered_cannot_be_told_nothing_bounds_it(
    tmp_path: Path,
) -> None:
    odd = {"model": "odd", "input": "1", "output": "1", "currency": "CNY"}
    later = {"CNY": [{"rate": "0.14", "from": "2999-01-01"}]}
    async with raw_upstream(serving("odd")) as upstream:
        settings = limited(upstream.url, HARD, prices=[FLAT[0], odd], fx=later)
        async with running(tmp_path, settings) as proxy:
            assert (await post(proxy, ask("alias", max_tokens=100))).status == 200
            refused = await post(proxy, ask("alias", max_tokens=100))
            assert (refused.status, error(refused)["code"]) == (400, "not_boundable")
            assert "has no price" in error(refused)["message"]

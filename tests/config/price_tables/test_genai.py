"""The installed genai-prices package, read as rows: each price that it works out is the one that
our rows give, or none at all."""

from __future__ import annotations

import datetime
import json
import warnings
from decimal import Decimal

import pytest
from genai_prices.data import providers
from genai_prices.types import Provider, Usage

from proxy.config.price_tables import Table, TableError, bundled, genai
from proxy.core.pricing.amounts import ONE, Counts, amounts, compile_rates
from proxy.core.pricing.pricelist import PriceList, PriceRow
from tools.prices import document, published, table

TIMES = [
    datetime.datetime(year, 11, 22, hour, tzinfo=datetime.UTC)
    for year, hour in ((2024, 2), (2026, 2), (2026, 20))
]
TIERS = (None, "flex", "priority", "default")
TOKENS = (1_000, 300_000)
OUTPUT, CACHED = 500, 100


def rates_of(
    rows: PriceList, name: str, tier: str | None, tokens: int, at: datetime.datetime
) -> PriceRow | None:
    at_ms = int(at.timestamp()) * 1000
    return next(
        (row for row in rows.candidates("up", name, None, tier) if row.applies(tokens, at_ms)), None
    )


def ours(row: PriceRow, tokens: int) -> int | None:
    """Nano-dollars, without output where the row has no rate for it."""
    counts = Counts(tokens, CACHED, 0, None, OUTPUT if row.output is not None else 0, None, None)
    return amounts(compile_rates(row.rates(), "0"), counts, ONE, ONE, images=None, answered=True)[0]


def theirs(
    provider: Provider, name: str, tier: str | None, tokens: int, at: datetime.datetime
) -> int | None:
    model = provider._match_model(name, all_providers=providers)
    if model is None:
        return None
    price = model.get_prices(at, {"service_tier": tier} if tier else None)
    usage = Usage(
        input_tokens=tokens, cache_read_tokens=CACHED, cache_write_tokens=0, output_tokens=OUTPUT
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        total = price.calc_price(usage)["total_price"]
    return int((total * 10**9).to_integral_value(rounding="ROUND_HALF_UP"))


# So that one process reads the table: a second's work.
pytestmark = pytest.mark.xdist_group("genai")


@pytest.fixture(scope="module")
def read() -> Table:
    return table()


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
@pytest.mark.parametrize("names_max", [10, pytest.param(1_000_000, marks=pytest.mark.campaign)])
def test_every_name_that_the_table_spells_out_has_its_price(
    read: Table, provider: Provider, names_max: int
) -> None:
    rows = PriceList(read.rows(provider.id, "up"))
    names = {
        name
        for model in published(provider).get("models", ())
        for name in (*genai._spelt(model["match"]), model["id"].lower())
    }  # type: ignore[attr-defined]
    # Some names of a long list, all over it; all of them in the campaign.
    for name in sorted(names)[:: max(1, len(names) // names_max)]:
        for at, tier, tokens in (
            (at, tier, tokens) for at in TIMES for tier in TIERS for tokens in TOKENS
        ):
            row = rates_of(rows, name, tier, tokens, at)
            if row is not None and row.rates():
                assert ours(row, tokens) == theirs(provider, name, tier, tokens, at), (
                    name,
                    tier,
                    tokens,
                    at,
                )


def test_only_what_no_answer_can_tell_is_left_without_a_price(read: Table) -> None:
    for provider, name in [
        ("openai", "gpt-4o"),
        ("openai", "gpt-5"),
        ("anthropic", "claude-sonnet-4-5"),
        ("google", "gemini-2.5-flash"),
        ("deepseek", "deepseek-chat"),
        ("x-ai", "grok-4"),
    ]:
        row = rates_of(PriceList(read.rows(provider, "up")), name, None, 1_000, TIMES[1])
        assert row is not None and row.input and row.output, name
    for provider, name in [("openai", "gpt-image-1"), ("openai", "whisper-1")]:
        row = rates_of(PriceList(read.rows(provider, "up")), name, None, 1_000, TIMES[1])
        assert row is None or not row.rates(), name


def test_names_beyond_the_table_are_matched_as_the_table_does(read: Table) -> None:
    rows = PriceList(read.rows("openai", "up"))
    provider = next(provider for provider in providers if provider.id == "openai")
    for name in (
        "gpt-4o-2024-08-06",
        "GPT-4o",
        "gpt-4o-mini-2024-07-18",
        "o3-mini-2025-01-31",
        "no-such-model",
    ):
        row = rates_of(rows, name, None, 1_000, TIMES[1])
        assert (None if row is None else ours(row, 1_000)) == theirs(
            provider, name.lower(), None, 1_000, TIMES[1]
        )


def test_what_ships_is_what_the_installed_package_says(read: Table) -> None:
    shipped = bundled.load()
    if shipped.version != read.version:
        pytest.skip(
            f"genai-prices {read.version} is installed and {shipped.version} ships; `make prices` brings it up to date"
        )
    assert (shipped.providers, shipped.fallbacks) == (read.providers, read.fallbacks)
    assert (shipped.name, shipped.url, shipped.licence[:3]) == (
        genai.NAME,
        genai.URL,
        "MIT",
    ) and shipped.date < datetime.datetime.now(datetime.UTC).date().isoformat()


def test_the_published_json_reads_as_the_package_does(read: Table) -> None:
    text = json.dumps(document(), default=str).encode()
    again = genai.read(json.loads(text, parse_float=Decimal), read.version, read.date)
    assert again == read


def model(**fields: object) -> list[object]:
    return [{"id": "p", "models": [{"id": "m", "match": {"equals": "m"}, **fields}]}]


BASE = {"input_mtok": 1, "output_mtok": 2}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prices": BASE}, [{"model": "m", "input": "1", "output": "2"}]),
        ({"prices": {**BASE, "cache_read_mtok": Decimal("0.10"), "requests_kcount": 5}}, [{"model": "m", "input": "1", "cached": "0.1", "output": "2", "request": "0.005"}]),
        # Another price for what no usage tells apart: none at all.
        ({"prices": {**BASE, "output_image_mtok": 30}}, [{"model": "m"}]),
        ({"prices": {**BASE, "output_image_mtok": 2, "input_image_mtok": 1, "web_searches_kcount": 10}}, [{"model": "m", "input": "1", "output": "2"}]),
        ({"prices": {"audio_hours": 1}}, [{"model": "m"}]),
        (
            {"prices": {"input_mtok": {"base": 1, "tiers": [{"start": 200, "price": 3}]}, "output_mtok": 2}},
            [{"model": "m", "input": "1", "output": "2"}, {"model": "m", "above_input_tokens": 200, "input": "3", "output": "2"}],
        ),
        (
            {"prices": [{"prices": BASE}, {"constraint": {"start_date": "2026-01-01"}, "prices": {**BASE, "input_mtok": 4}}]},
            [{"model": "m", "input": "1", "output": "2"}, {"model": "m", "input": "4", "output": "2", "from_ms": 1_767_225_600_000}],
        ),
        (
            {"prices": [{"prices": BASE}, {"constraint": {"start_time": "16:30:00Z", "end_time": "00:30:00Z"}, "prices": {**BASE, "input_mtok": 4}}]},
            [{"model": "m", "input": "1", "output": "2"}, {"model": "m", "input": "4", "output": "2", "hours_utc": (990, 30)}],
        ),
        (
            {"prices": BASE, "price_variants": [{"when": {"service_tier": "flex"}, "prices": {"input_mtok": "0.5"}}, {"when": {"processing": "batch"}, "prices": {"input_mtok": 9}}]},
            [{"model": "m", "input": "1", "output": "2"}, {"model": "m", "input": "0.5", "output": "2", "service_tier": "flex"}],
        ),
        (
            {"prices": BASE, "match": {"or": [{"starts_with": "M-"}, {"contains": "x"}, {"ends_with": "y"}, {"regex": r"^m-\d{2}\.[ab]$"}, {"regex": "^(a|b)"}, {"equals": "a[b"}]}},
            [{"model": name, "input": "1", "output": "2"} for name in ("a[[]b", "m-", "m-*", "*x*", "*y", "m-[0-9][0-9].[ab]")],
        ),
        (
            {"prices": BASE, "match": {"and": [{"starts_with": "m"}, {"regex": genai._NO_SPEECH}]}},
            [{"model": "m", "input": "1", "output": "2"}, {"model": "m*", "input": "1", "output": "2"}, {"model": "m*-tts"}, {"model": "m*-tts-*"}],
        ),
    ],
)  # fmt: skip
def test_one_model(fields, expected):
    rows = [PriceRow(currency="USD", **row) for row in expected]
    assert sorted(genai.read(model(**fields)).providers["p"], key=repr) == sorted(rows, key=repr)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        [],
        [{}],
        [{"id": "p", "models": [{"id": "m"}]}],
        model(prices={"input_mtok": "dear"}),
        model(prices=BASE, match={"equals": "a", "or": []}),
    ],
)
def test_what_is_no_table_is_told(document):
    with pytest.raises(TableError, match="not a table in the format of genai-prices"):
        genai.read(document)

"""`tollkeeper price list|show`, and what `record show` says of a record's amounts."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from proxy import ledger
from proxy.cli.catalogue import in_effect
from proxy.ledger import Batch
from tests.ledger.samples import make_id, make_record, numbered

CONFIG = """
timezone: Asia/Shanghai
fx: {CNY: [{rate: "0.14"}]}
upstreams:
  modelmax: {base_url: "http://127.0.0.1:9/v1", api_key: k, discount: "0.1"}
  deepseek: {base_url: "http://127.0.0.1:9/v1", api_key: k, price_source: deepseek}
routes:
  - {model: "deepseek-v3.2", upstream: modelmax}
  - {model: "deepseek-*", upstream: deepseek}
teams: {research: {markup: "0.05"}}
prices:
  - {model: "deepseek-v3.2", upstream: modelmax, input: "2", cached: "0.2", output: "3", currency: CNY, from: 2026-01-01}
  - {model: "own", input: "1", output: "1", service_tier: flex, above_input_tokens: 5}
"""


@pytest.fixture(autouse=True)
def priced_config(home):
    (home / "config.yaml").write_text(CONFIG)


def test_list_shows_every_row_and_leaves_empty_columns_out(call):
    lines = call("price", "list").stdout.splitlines()
    assert lines[0].startswith("Prices in effect (version ")
    assert lines[1].split() == [
        "upstream",
        "model",
        "tier",
        "above",
        "hours",
        "UTC",
        "from",
        "currency",
        "input",
        "cached",
        "output",
        "source",
    ]
    assert lines[2].split() == ["own", "flex", "5", "USD", "1", "1", "config"], (
        "the operator's first, those for any upstream before others"
    )
    assert lines[3].split() == [
        "modelmax",
        "deepseek-v3.2",
        "2026-01-01",
        "CNY",
        "2",
        "0.2",
        "3",
        "config",
    ]
    assert any(
        line.split()[:3] == ["deepseek", "deepseek-chat", "00:30-16:30"] and "genai-prices" in line
        for line in lines
    )
    only = call("price", "list", "--upstream", "modelmax").stdout
    assert "deepseek-v3.2" in only and "genai-prices" not in only


def test_list_as_json(call):
    said = json.loads(call("price", "list", "--upstream", "modelmax", "--json").stdout)
    assert said["currency"] == "USD" and len(said["price_version"]) == 16
    assert said["rows"][1] == {
        "source": "config",
        "model": "deepseek-v3.2",
        "currency": "CNY",
        "upstream": "modelmax",
        "input": "2",
        "cached": "0.2",
        "output": "3",
        "from": "2026-01-01",
    }


def test_list_without_rows_says_where_they_go(call, home):
    (home / "config.yaml").write_text(
        CONFIG.partition("prices:")[0].replace(", price_source: deepseek", "")
    )
    assert "No rows. Add some to `prices`" in call("price", "list").stdout


def test_show_tells_the_row_and_what_is_made_of_it(call):
    lines = [
        line.split()
        for line in call(
            "price", "show", "deepseek-v3.2", "--team", "research", "--at", "2026-11-01"
        ).stdout.splitlines()
    ]
    assert lines[0][:4] == ["model", "deepseek-v3.2", "at", "modelmax,"] and lines[0][4:] == [
        "2026-11-01",
        "00:00+08:00",
    ]
    assert lines[1] == ["row", "deepseek-v3.2", "at", "modelmax", "from", "2026-01-01", "(config)"]
    assert lines[3:6] == [
        ["discount", "0.1"],
        ["exchange", "1", "CNY", "=", "0.14", "USD"],
        ["markup", "0.05"],
    ]
    assert lines[7:] == [
        ["input", "/", "1M", "2", "0.252", "0.2646"],
        ["cached", "/", "1M", "0.2", "0.0252", "0.02646"],
        ["output", "/", "1M", "3", "0.378", "0.3969"],
    ]


def test_show_takes_upstream_time_tier_and_context(call):
    row = json.loads(
        call("price", "show", "deepseek-chat", "--at", "2026-11-01T12:00", "--json").stdout
    )["row"]
    assert (row["hours_utc"], row["upstream"]) == ("00:30-16:30", "deepseek")
    assert (
        "hours_utc"
        not in json.loads(
            call("price", "show", "deepseek-chat", "--at", "2026-11-01T01:00", "--json").stdout
        )["row"]
    )
    assert call("price", "show", "own", "--upstream", "modelmax", "--tier", "flex").exit_code == 1
    shown = json.loads(
        call(
            "price",
            "show",
            "own",
            "--upstream",
            "modelmax",
            "--tier",
            "flex",
            "--input-tokens",
            "6",
            "--json",
        ).stdout
    )
    assert shown["cost"]["reasoning"] == "0.9", (
        "discount taken, and a part without a price of its own has its whole's"
    )


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("show", "unknown"), 1, "No route leads to 'unknown'; name an upstream with --upstream."),
        (
            ("show", "unknown", "--upstream", "modelmax"),
            1,
            "No price row with rates applies to 'unknown' at modelmax",
        ),
        (("show", "deepseek-v3.2", "--at", "2025-12-31"), 1, "No price row with rates applies"),
        (
            ("show", "own", "--upstream", "nobody"),
            2,
            "there is no upstream 'nobody' in the config; it has modelmax, deepseek.",
        ),
        (("list", "--upstream", "nobody"), 2, "there is no upstream 'nobody'"),
        (("show", "deepseek-v3.2", "--team", "nobody"), 2, "there is no team 'nobody'"),
        (("show", "deepseek-v3.2", "--at", "soon"), 2, "is no date"),
    ],
)
def test_what_cannot_be_shown_says_why(call, words, code, text):
    result = call("price", *words)
    assert result.exit_code == code and text in " ".join(result.stderr.split())


def test_record_show_explains_an_amount_from_what_the_ledger_keeps(call, home):
    book = in_effect(home / "config.yaml").book
    record = make_record(0, cached_tokens=40)
    found = book.price_record(record)
    record = msgspec.structs.replace(
        record, **{name: getattr(found, name) for name in found.__struct_fields__}
    )
    lost = msgspec.structs.replace(record, id=make_id(1), price_version="0" * 16)

    async def stored() -> None:
        (home / "var").mkdir()
        opened = await ledger.connect("sqlite:ledger.db", home / "var", home / "var" / "ledger.key")
        try:
            await opened.book(
                Batch("w0", numbered(record, lost), price_versions=[(book.version, book.terms())])
            )
        finally:
            await opened.aclose()

    asyncio.run(stored())
    (home / "config.yaml").write_text("upstreams: {}\n")  # what it says today does not matter
    shown = call("record", "show", make_id(0), "--data-dir", "var").stdout
    assert f"How its amounts came about, by the prices of version {book.version}" in shown
    assert (
        "60 × 2 CNY / 1,000,000 = 0.00012 CNY" in shown
        and "× (1 + 0.05)" in shown
        and "differs" not in shown
    )
    said = json.loads(call("record", "show", make_id(0), "--data-dir", "var", "--json").stdout)[
        "explanation"
    ]
    assert (said["as_booked"], said["cost_nano"], said["row"]["model"]) == (
        True,
        found.cost_nano,
        "deepseek-v3.2",
    )
    assert (
        "The ledger does not hold the prices of version 0000000000000000"
        in call("record", "show", make_id(1), "--data-dir", "var").stdout
    )

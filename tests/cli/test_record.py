"""`tollkeeper record show`."""

import json

from proxy.core.records.canonical import COLUMNS
from tests.ledger.samples import make_id, make_record


def test_every_column_is_shown(call, book):
    book(make_record(0, input_tokens=1234, first_byte_ms=None, cost_nano=1_500_000))
    shown = dict(
        line.split(None, 1) for line in call("record", "show", make_id(0)).stdout.splitlines()
    )
    assert shown["Record"] == make_id(0)
    assert set(shown) - {"Record"} == {name.removesuffix("_nano") for name in COLUMNS}
    assert (
        shown["input_tokens"].strip(),
        shown["first_byte_ms"].strip(),
        shown["cost"].strip(),
    ) == ("1,234", "–", "0.0015")
    assert shown["started_at_ms"].strip() == "2026-11-01 10:26:40+08:00 (1793500000000)"
    assert (shown["stream"].strip(), shown["labels"].strip(), shown["outcome"].strip()) == (
        "no",
        '{"cost_center":"4711"}',
        "completed",
    )


def test_json_has_the_same_columns_and_the_adjustments(call, book):
    book(
        make_record(0),
        make_record(
            1, kind="adjustment", adjusts=make_id(0), reason="late_close", output_tokens=-3
        ),
    )
    got = json.loads(call("record", "show", make_id(0), "--json").stdout)
    adjustments = got.pop("adjustments")
    assert got.pop("explanation") is None
    assert list(got) == list(COLUMNS)
    assert (
        got["seq"],
        got["input_tokens"],
        got["usage_raw"]["total_tokens"],
        len(got["hash"]),
    ) == (1, 100, 120, 64)
    assert [(row["id"], row["adjusts"], row["output_tokens"]) for row in adjustments] == [
        (make_id(1), make_id(0), -3)
    ]
    assert f"Adjustment of {make_id(0)} {make_id(1)}" in call("record", "show", make_id(0)).stdout


PRICES = """
prices:
  - {model: "deepseek-*", input: "0.28", output: "0.42"}
teams: {research: {markup: "0.05"}}
"""


def test_each_adjustment_is_explained_by_its_own_terms(call, book, home):
    """Booked without a price, priced late, then corrected: the same command says how each amount
    came about."""
    path = home / "config.yaml"
    path.write_text(path.read_text() + PRICES)
    book(make_record(0))
    assert (
        call(
            "price", "rerate", "--month", "2026-11", "--yes", "--reason", "a price came late"
        ).exit_code
        == 0
    )
    path.write_text(
        path.read_text().replace("0.28", "0.14").replace('markup: "0.05"', 'markup: "0.5"')
    )
    assert call("price", "rerate", "--month", "2026-11", "--yes").exit_code == 0
    first, second = json.loads(call("record", "show", make_id(0), "--json").stdout)["adjustments"]
    assert (first["reason"], second["reason"]) == ("rerate: a price came late", "rerate")
    told = [one["explanation"] for one in (first, second)]
    assert [(how["row"]["input"], how["markup"], how["charge_nano"]) for how in told] == [
        ("0.28", "0.05", 38_220),
        ("0.14", "0.05", 23_520),
    ]
    assert all(how["as_booked"] for how in told), (
        "the markup of its time holds, and the sum of all is what the row says"
    )
    assert second["charge_nano"] == 23_520 - 38_220
    shown = call("record", "show", make_id(0)).stdout
    assert shown.count("What the record came to from then on, by the prices of version") == 2
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "charge before not known, so that the adjustment is 0.00003822" in lines
    assert "charge before 0.00003822, so that the adjustment is -0.0000147" in lines


def test_a_late_close_is_explained_beside_a_rerating(call, book, home):
    """A late close is the difference to the record alone: what a rerating booked meanwhile
    stands."""
    path = home / "config.yaml"
    path.write_text(path.read_text() + PRICES)
    version = json.loads(call("price", "list", "--json").stdout)["price_version"]
    record = make_record(
        0,
        cost_nano=36_400,
        charge_nano=38_220,
        currency="USD",
        price_version=version,
        price_currency="USD",
        cost_original_nano=36_400,
    )
    close = {
        "kind": "adjustment",
        "adjusts": make_id(0),
        "reason": "late_close",
        "input_tokens": 0,
        "bytes_in": 0,
        "bytes_out": 0,
        "chunks": 0,
    }
    money = {
        "cost_nano": -4_200,
        "charge_nano": -4_410,
        "cost_original_nano": -4_200,
        "currency": "USD",
        "price_currency": "USD",
    }
    book(record, make_record(2))
    call("price", "rerate", "--month", "2026-11", "--yes")
    path.write_text(path.read_text().replace("0.28", "0.14"))
    call("price", "rerate", "--month", "2026-11", "--yes")
    book(make_record(1, output_tokens=-10, price_version=version, **close, **money))
    rerated, late = json.loads(call("record", "show", make_id(0), "--json").stdout)["adjustments"]
    assert (rerated["explanation"]["charge_nano"], rerated["explanation"]["as_booked"]) == (
        23_520,
        True,
    )
    assert (late["explanation"]["charge_nano"], late["explanation"]["as_booked"]) == (33_810, True)
    assert [part["count"] for part in late["explanation"]["parts"]] == [100, 10]


def test_a_record_that_no_row_prices_says_so(call, book, home):
    path = home / "config.yaml"
    path.write_text(path.read_text() + PRICES)
    version = json.loads(call("price", "list", "--json").stdout)["price_version"]
    book(
        make_record(0, model_requested="x", model_served=None, price_version=version),
        make_record(1),
    )
    assert (
        f"The ledger does not hold the prices of version {version}"
        in call("record", "show", make_id(0)).stdout
    )
    call("price", "rerate", "--month", "2026-11", "--yes")
    assert (
        f"No row of the prices of version {version} applied to it"
        in call("record", "show", make_id(0)).stdout
    )


def test_an_unknown_id_fails(call, book):
    book(make_record(0))
    result = call("record", "show", "nonsense", "-c", "config.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The ledger has no record nonsense." in result.stderr
    assert "tollkeeper limit refusals" in result.stderr, "it may be one that was refused"

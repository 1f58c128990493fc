"""`tollkeeper record show`."""

import json

from ledger.samples import make_id, make_record

from proxy.ledger.canonical import COLUMNS


def test_every_column_is_shown(call, book):
    book(make_record(0, input_tokens=1234, first_byte_ms=None, cost_nano=1_500_000))
    shown = dict(line.split(None, 1) for line in call("record", "show", make_id(0)).stdout.splitlines())
    assert shown["Record"] == make_id(0)
    assert set(shown) - {"Record"} == {name.removesuffix("_nano") for name in COLUMNS}
    assert (shown["input_tokens"].strip(), shown["first_byte_ms"].strip(), shown["cost"].strip()) == ("1,234", "–", "0.0015")
    assert shown["started_at_ms"].strip() == "2026-11-01 10:26:40+08:00 (1793500000000)"
    assert (shown["stream"].strip(), shown["labels"].strip(), shown["outcome"].strip()) == ("no", '{"cost_center":"4711"}', "completed")


def test_json_has_the_same_columns_and_the_adjustments(call, book):
    book(make_record(0), make_record(1, kind="adjustment", adjusts=make_id(0), reason="late_close", output_tokens=-3))
    got = json.loads(call("record", "show", make_id(0), "--json").stdout)
    adjustments = got.pop("adjustments")
    assert got.pop("explanation") is None
    assert list(got) == list(COLUMNS)
    assert (got["seq"], got["input_tokens"], got["usage_raw"]["total_tokens"], len(got["hash"])) == (1, 100, 120, 64)
    assert [(row["id"], row["adjusts"], row["output_tokens"]) for row in adjustments] == [(make_id(1), make_id(0), -3)]
    assert f"Adjustment of {make_id(0)} {make_id(1)}" in call("record", "show", make_id(0)).stdout


def test_an_unknown_id_fails(call, book):
    book(make_record(0))
    result = call("record", "show", "nonsense", "-c", "config.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The ledger has no record nonsense." in result.stderr

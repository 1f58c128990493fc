"""A record as its caller sees it leaves out what is the operator's."""

from __future__ import annotations

from proxy.dataplane.endpoints.own_records import as_shown
from tests.ledger.samples import make_record


def test_costs_labels_and_accounts_are_not_shown() -> None:
    shown = as_shown(make_record(labels={"a": "b"}, upstream_account="acct"), 5)
    assert shown["object"] == "usage.record" and shown["booked_at_ms"] == 5
    assert "charge_nano" in shown and "input_tokens" in shown
    assert not {"cost_nano", "labels", "upstream_account", "price_version", "seq"} & shown.keys()

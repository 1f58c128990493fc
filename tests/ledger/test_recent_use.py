"""A record as recent use."""

from __future__ import annotations

from proxy.ledger.reading import Recent as FromTheContract
from proxy.ledger.recent_use import Recent
from tests.ledger.samples import make_record


def test_a_record_is_one_request_of_its_key_and_tags() -> None:
    recent = Recent.of(make_record(1, tags={"feature": "x"}, charge_nano=5))
    assert (recent.requests, recent.key_id, recent.tags) == (1, "alice", {"feature": "x"})
    assert (recent.input_tokens, recent.charge_nano) == (100, 5)
    assert FromTheContract is Recent

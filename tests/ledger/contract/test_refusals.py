"""Refusals add up by key, team, reason, limit and quarter hour."""

from __future__ import annotations

from proxy.ledger import Batch, Refusal
from proxy.ledger.reading import RefusalSum
from tests.ledger.ledgers import BookUnderTest

BUCKET_MS = 15 * 60 * 1000


def test_they_add_up_by_all_that_tells_them_apart(ledgers: BookUnderTest) -> None:
    first = [
        Refusal(0, "alice", "rate_limit_exceeded", 3, "research", "key:alice/requests/minute"),
        Refusal(0, "alice", "rate_limit_exceeded", 4, "research", "team:research/requests/minute"),
        Refusal(0, "alice", "rate_limit_exceeded", 5, "lab", "key:alice/requests/minute"),
        Refusal(0, None, "invalid_api_key", 1),
    ]
    later = Refusal(BUCKET_MS, "alice", "rate_limit_exceeded", 9, "research", first[0].limit_id)
    for batch in (first, [*first, later]):
        ledgers.batch(Batch("w0", refusals=batch))
    key, team, limit = "alice", "research", "key:alice/requests/minute"
    code = "rate_limit_exceeded"
    reader = ledgers.reader()
    assert reader.refusals(None, None) == [
        RefusalSum(key, code, 15, 0, BUCKET_MS, team, limit),
        RefusalSum(key, code, 10, 0, 0, "lab", limit),
        RefusalSum(key, code, 8, 0, 0, team, "team:research/requests/minute"),
        RefusalSum(None, "invalid_api_key", 2, 0, 0),
    ]
    assert reader.refusals(BUCKET_MS, None) == [
        RefusalSum(key, code, 9, BUCKET_MS, BUCKET_MS, team, limit)
    ]


def test_of_equally_many_those_without_a_key_come_first_then_by_the_bytes_of_names(
    ledgers: BookUnderTest,
) -> None:
    keys = ["b", None, "B", "a", "ä"]
    ledgers.batch(Batch("w0", refusals=[Refusal(0, key, "x", 1) for key in keys]))
    found = ledgers.reader().refusals(None, None)
    assert [each.key_id for each in found] == [None, "B", "a", "b", "ä"]

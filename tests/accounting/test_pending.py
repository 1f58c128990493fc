"""What waits for the next batch beside records."""

from __future__ import annotations

from proxy.accounting.pending import (
    REFUSAL_BUCKET_MS,
    REFUSAL_GROUPS_MAX,
    REFUSAL_ROWS_MAX,
    Pending,
)
from proxy.ledger import Batch, Refusal
from tests.ledger.samples import make_record


def test_a_batch_takes_all_along_once() -> None:
    pending = Pending()
    assert not pending
    for now_ms in (0, REFUSAL_BUCKET_MS - 1, REFUSAL_BUCKET_MS):
        pending.refused("alice", "rate_limit_exceeded", now_ms, team="research", limit_id="soft")
    pending.refused("alice", "rate_limit_exceeded", 0, team="lab", limit_id="soft")
    pending.salts([("look-up", b"salt")])
    pending.price_terms("v1", b"terms")
    assert pending
    closes = [(7, make_record())]
    assert pending.batch("w0", closes, 9) == Batch(
        writer="w0",
        closes=closes,
        position=9,
        salts=(("look-up", b"salt"),),
        refusals=(
            Refusal(0, "alice", "rate_limit_exceeded", 2, "research", "soft"),
            Refusal(REFUSAL_BUCKET_MS, "alice", "rate_limit_exceeded", 1, "research", "soft"),
            Refusal(0, "alice", "rate_limit_exceeded", 1, "lab", "soft"),
        ),
        price_versions=(("v1", b"terms"),),
    )
    assert not pending and pending.batch("w0") == Batch("w0")


def test_what_was_not_booked_is_kept_with_all_terms_of_prices() -> None:
    pending = Pending()
    pending.price_terms("v1", b"one")
    pending.batch("w0")
    pending.price_terms("v2", b"two")
    pending.refused("alice", "code", 0)
    pending.salts([("lookup", b"salt")])
    batch = pending.batch("w0")
    pending.refused("alice", "code", 0)
    pending.again(batch)
    again = pending.batch("w0")
    assert again.refusals == (Refusal(0, "alice", "code", 2),)
    assert again.salts == (("lookup", b"salt"),)
    assert dict(again.price_versions) == {"v1": b"one", "v2": b"two"}


def test_keys_that_clients_make_up_are_bounded() -> None:
    pending = Pending()
    for n in range(REFUSAL_GROUPS_MAX + 500):
        pending.refused(f"made-up-{n}", "invalid_api_key", 0)
    refusals = pending.batch("w0").refusals
    assert len(refusals) == REFUSAL_GROUPS_MAX + 1
    assert refusals[-1] == Refusal(0, None, "invalid_api_key", 500)


def test_keys_that_clients_make_up_fill_no_table_either() -> None:
    """The ledger takes what is pending many times in a quarter hour."""
    pending, rows = Pending(), set()
    for n in range(2 * REFUSAL_ROWS_MAX):
        pending.refused(f"made-up-{n}", "invalid_api_key", n % REFUSAL_BUCKET_MS)
        pending.refused("made-up-7", "invalid_api_key", 0)
        if n % 1000 == 0:
            batch = pending.batch("w0")
            rows |= {(one.bucket_ms, one.key_id) for one in batch.refusals}
    rows |= {(one.bucket_ms, one.key_id) for one in pending.batch("w0").refusals}
    assert len(rows) == REFUSAL_ROWS_MAX + 1 and {(0, None), (0, "made-up-7")} <= rows
    pending.refused("made-up-new", "invalid_api_key", REFUSAL_BUCKET_MS)
    assert pending.batch("w0").refusals == (
        Refusal(REFUSAL_BUCKET_MS, "made-up-new", "invalid_api_key", 1),
    )

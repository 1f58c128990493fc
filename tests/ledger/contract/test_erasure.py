"""A salt is deleted with its audit, or both stay; the chain and the sums do not change."""

from __future__ import annotations

import msgspec

from proxy.core.managed import Audit
from proxy.ledger import Batch
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import KEY, START_MS, make_record, numbered

DEED = Audit(
    at_ms=START_MS,
    actor="root",
    origin="socket",
    action="end_user.erase",
    kind="end_user",
    name="erased",
    reason="ticket 4711",
)
SALTS = [("a" * 32, b"1" * 16), ("b" * 32, b"2" * 16)]


async def test_a_salt_is_deleted_and_the_deed_is_audited(ledgers: BookUnderTest) -> None:
    ledgers.batch(Batch("w0", numbered(make_record(1, end_user="c" * 32)), salts=SALTS))
    before = ledgers.everything()
    ledger = await ledgers.open()
    try:
        assert await ledger.erase_end_user(SALTS[0][0], DEED)
        assert await ledger.salts() == dict(SALTS[1:])
        assert not await ledger.erase_end_user(SALTS[0][0], DEED)
        assert not await ledger.erase_end_user("c" * 32, DEED)
    finally:
        await ledger.aclose()
    assert [entry.deed for entry in ledgers.reader().audit(0, 10)] == [DEED]
    after = ledgers.everything()
    assert {table for table in after if after[table] != before[table]} <= {
        "audit", "end_users", "credit_links", "cursor",
    }  # fmt: skip
    assert not ledgers.verified(KEY).problems
    assert not ledgers.reader().audit_problems(ledgers.key_file)


async def test_a_salt_that_is_kept_stays(ledgers: BookUnderTest) -> None:
    ledgers.batch(Batch("w0", salts=SALTS))
    ledger = await ledgers.open()
    try:
        assert not await ledger.erase_end_user(SALTS[0][0], DEED, kept=SALTS[0][1])
        assert await ledger.salts() == dict(SALTS)
        assert await ledger.erase_end_user(SALTS[0][0], DEED, kept=b"another")
        assert await ledger.erase_end_user("c" * 32, DEED, known=True)
        assert len(ledgers.reader().audit(0, 10)) == 2
    finally:
        await ledger.aclose()


async def test_a_deed_that_cannot_be_audited_deletes_nothing(ledgers: BookUnderTest) -> None:
    ledgers.batch(Batch("w0", salts=SALTS))
    ledger = await ledgers.open()
    try:
        wrong = msgspec.structs.replace(DEED, actor=None)
        try:
            await ledger.erase_end_user(SALTS[0][0], wrong)
        except Exception:  # each database has its own
            assert await ledger.salts() == dict(SALTS)
        else:
            raise AssertionError("the audit has an actor")
    finally:
        await ledger.aclose()

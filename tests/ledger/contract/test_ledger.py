"""The ledger as the process uses it: opened, closed, surviving what happens to it."""

from __future__ import annotations

import asyncio

import pytest

from proxy.ledger import Batch, Booked, LedgerError, LedgerUnavailable, Refusal
from proxy.server.failpoints import Failpoints
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import make_record, numbered


async def test_what_is_booked_is_there_after_reopening(ledgers: BookUnderTest) -> None:
    ledger = await ledgers.open()
    assert await ledger.book(
        Batch(
            "w0",
            numbered(make_record(0)),
            salts=[("look-up", b"salt")],
            refusals=[Refusal(0, "a", "x", 1)],
        )
    ) == Booked(1, 0, 0)
    await ledger.aclose()
    ledger = await ledgers.open()
    assert await ledger.position("w0") == 1
    assert await ledger.salts() == {"look-up": b"salt"}
    assert await ledger.book(Batch("w0", numbered(make_record(0), make_record(1)))) == Booked(
        1, 1, 0
    )
    assert await ledger.position("w0") == 2
    await ledger.aclose()
    found = ledgers.verified()
    assert (found.records, found.seals, found.seals_of_other_keys, found.problems) == (2, 2, 0, ())


async def test_a_sealed_ledger_without_its_key_does_not_get_a_new_one(
    ledgers: BookUnderTest,
) -> None:
    ledger = await ledgers.open()
    await ledger.book(Batch("w0", numbered(make_record(0))))
    await ledger.aclose()
    ledgers.key_file.unlink()
    other = bytes(32)
    with pytest.raises(LedgerError, match=r"restore .*ledger\.key from a backup"):
        await ledgers.open()
    ledgers.key_file.write_text(other.hex())
    ledger = await ledgers.open()
    await ledger.book(Batch("w0", numbered(make_record(1), after=1)))
    await ledger.aclose()
    found = ledgers.verified(other)
    assert (found.records, found.seals, found.seals_of_other_keys, found.problems) == (2, 2, 1, ())


async def test_the_key_file_can_be_elsewhere(ledgers: BookUnderTest) -> None:
    ledgers.key_file.unlink()
    elsewhere = ledgers.directory / "keys" / "seal"
    elsewhere.parent.mkdir()
    await (await ledgers.open(elsewhere)).aclose()
    assert len(bytes.fromhex(elsewhere.read_text())) == 32
    assert not ledgers.key_file.exists()


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.parametrize(("place", "booked"), [("before", 0), ("inside", 0), ("after", 2)])
async def test_a_fault_at_any_place_is_unavailable_and_the_batch_is_booked_once(
    ledgers: BookUnderTest, action: str, place: str, booked: int
) -> None:
    ledger = await ledgers.open(fail=Failpoints(f"ledger.book.{place}={action}@1"))
    batch = numbered(make_record(0), make_record(1))
    with pytest.raises(LedgerUnavailable, match="failpoint"):
        await ledger.book(Batch("w0", batch))
    assert await ledger.position("w0") == booked
    assert await ledger.book(Batch("w0", batch)) == Booked(
        inserted=2 - booked, known=booked, adjustments=0
    )
    await ledger.aclose()


async def test_a_cancelled_wait_does_not_break_the_batch(
    ledgers: BookUnderTest,
) -> None:
    ledger = await ledgers.open()
    waiting = asyncio.ensure_future(ledger.book(Batch("w0", numbered(make_record(0)))))
    await asyncio.sleep(0)  # it has begun
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await ledger.book(Batch("w0", numbered(make_record(0)))) == Booked(0, 1, 0)
    await ledger.aclose()

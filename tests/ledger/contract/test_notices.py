"""Notices in the book's database: each of each subject once, kept until it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.core.notices.notice import Claim, Notice
from proxy.ledger import Ledger
from tests.ledger.ledgers import BookUnderTest

DAY_MS = 86_400_000


def told(
    subject: str, receiver: str = "r1", message_id: str = "m1", until_ms: int | None = None
) -> Claim:
    notice = Notice(
        event="limit_near",
        at_ms=7,
        subject=subject,
        until_ms=until_ms,
        team="research",
        title="The limit is near.",
        facts=(("Used", "4 of 5"),),
        data={"used": 4, "resets_at": None},
    )
    return Claim(receiver=receiver, message_id=message_id, notice=notice)


@pytest.fixture
async def ledger(ledgers: BookUnderTest) -> AsyncIterator[Ledger]:
    opened = await ledgers.open()
    yield opened
    await opened.aclose()


async def test_a_subject_is_claimed_once_for_each_receiver(ledger: Ledger) -> None:
    first = told("a")
    assert await ledger.claim_notices([first, told("b")], 0) == [first, told("b")]
    again, other = told("a", message_id="m2"), told("a", receiver="r2")
    assert await ledger.claim_notices([again, other], 0) == [other]


async def test_what_is_not_sent_is_there_after_a_restart_under_its_message(
    ledgers: BookUnderTest,
) -> None:
    ledger = await ledgers.open()
    rows = [told("a", message_id="m1"), told("b", message_id="m2"), told("c", message_id="m1")]
    await ledger.claim_notices(rows, 0)
    await ledger.notices_sent(["m2"])
    await ledger.aclose()
    ledger = await ledgers.open()
    assert await ledger.unsent_notices(9) == [rows[0], rows[2]]
    assert await ledger.unsent_notices(1) == [rows[0]]
    assert await ledger.claim_notices([told("b", message_id="m3")], 0) == []
    await ledger.aclose()


async def test_a_row_goes_when_it_is_sent_and_its_time_is_over(ledger: Ledger) -> None:
    rows = [
        told("a", until_ms=DAY_MS),
        told("b"),
        told("c", until_ms=DAY_MS + 2),
        told("d", until_ms=DAY_MS, message_id="m2"),
    ]
    await ledger.claim_notices(rows, 0)
    await ledger.notices_sent(["m1"])
    assert await ledger.claim_notices(rows, DAY_MS + 1) == [rows[0]]

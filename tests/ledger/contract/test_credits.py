"""Credits in the book: each once, for good."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.limits.credit import Credit
from proxy.ledger import QuestionRefused
from tests.ledger.ledgers import BookUnderTest

CREDIT = Credit(
    id="c1",
    granted_at_ms=1,
    limit_id="trial",
    unit="tokens",
    amount=-5,
    valid_until_ms=9,
    reason="r",
    granted_by="ops",
)


async def test_a_credit_is_booked_once_and_read_back(ledgers: BookUnderTest) -> None:
    ledger = await ledgers.open()
    for credit in (
        CREDIT,
        Credit(id="c1", granted_at_ms=2, limit_id="other", unit="tokens", amount=7),
        Credit(id="c2", granted_at_ms=3, limit_id="other", unit="USD", amount=7),
    ):
        await ledger.credit(credit)
    found = await ledger.credits()
    await ledger.aclose()
    assert found == [
        CREDIT,
        Credit(id="c2", granted_at_ms=3, limit_id="other", unit="USD", amount=7),
    ]


@pytest.mark.parametrize("given", [0, 1, 2])
async def test_verifying_counts_the_credits_that_were_given(
    ledgers: BookUnderTest, given: int
) -> None:
    """And not the links of their chain, which has one more."""
    ledger = await ledgers.open()
    for number in range(given):
        await ledger.credit(msgspec.structs.replace(CREDIT, id=f"c{number}"))
    await ledger.aclose()
    step = ledgers.reader().verify_step("credits", None, ledgers.key_file)
    assert (step.rows, step.found) == (given, 0)


async def test_the_newest_come_first_of_one_limit_and_by_page(ledgers: BookUnderTest) -> None:
    ledger = await ledgers.open()
    for number in range(6):  # the ids do not say the order
        limit_id = ("trial", "other")[number % 2]
        await ledger.credit(
            Credit(
                id=f"c{9 - number}",
                granted_at_ms=1,
                limit_id=limit_id,
                unit="tokens",
                amount=number,
            ),
        )

    await ledger.aclose()
    reader = ledgers.reader()

    def amounts(limit_id: str | None, after: str | None, most: int) -> list[int]:
        return [each.amount for each in reader.credits(limit_id, after, most)]

    assert amounts(None, None, 9) == [5, 4, 3, 2, 1, 0]
    assert amounts("trial", None, 9) == [4, 2, 0]
    assert amounts("trial", None, 2) == [4, 2] and amounts("trial", "c7", 2) == [0]
    assert amounts(None, "c5", 1) == [3]
    assert amounts("nobody", None, 9) == []
    with pytest.raises(QuestionRefused, match="after is the id of a credit"):
        amounts(None, "unknown", 9)

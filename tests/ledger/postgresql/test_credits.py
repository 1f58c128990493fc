"""Credits come back in the order of booking, each once."""

from __future__ import annotations

import pytest

from proxy.core.limits.credit import Credit
from proxy.ledger.postgresql.credits import add, every
from tests.ledger.postgresql.books import books

pytestmark = pytest.mark.whole  # a server of its own


def test_a_credit_is_booked_once_and_its_amount_has_any_size() -> None:
    several = [
        Credit("b", "limit", 2**100, 5, unit="USD", reason="r"),
        Credit("a", "limit", -3, 4, valid_until_ms=9, granted_by="ops"),
    ]
    with books() as book:
        for credit in (*several, Credit("b", "other", 1, 1)):
            book.line.transaction(lambda one, credit=credit: add(one, credit))  # type: ignore[misc]
        assert book.line.ask(every) == several
        assert all(type(credit.amount) is int for credit in book.line.ask(every))

"""Credits come back in the order of booking, each once."""

from __future__ import annotations

import threading

import msgspec
import pytest

from proxy.core.limits.credit import Credit
from proxy.ledger.credit_chain import CREDIT_COLUMNS, LINK_COLUMNS, verified
from proxy.ledger.postgresql import _ORDERS
from proxy.ledger.postgresql.credits import add, begin_chain, every
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import KEY

pytestmark = pytest.mark.whole  # a server of its own


LINKS = (
    f"SELECT {', '.join(f'l.{name}' for name in LINK_COLUMNS)}, "
    f"{', '.join(f'g.{name}' for name in CREDIT_COLUMNS)} "
    "FROM credit_links AS l LEFT JOIN grants AS g ON g.seq = l.seq ORDER BY l.seq"
)


def put(book: Books, credit: Credit) -> None:
    book.line.transaction(lambda one: add(one, credit, KEY, 5), begin=_ORDERS)


def begin(book: Books) -> None:
    book.line.transaction(lambda one: begin_chain(one, KEY, 4), begin=_ORDERS)


def test_a_credit_is_booked_once_and_its_amount_has_any_size() -> None:
    several = [
        Credit("b", "limit", 2**62, 5, unit="USD", reason="r\0"),
        Credit("a", "limit", -3, 4, valid_until_ms=9, granted_by="ops"),
    ]
    with books() as book:
        begin(book)
        for credit in (*several, Credit("b", "other", 1, 1)):
            put(book, credit)
        found = book.line.ask(every)
        assert found == [msgspec.structs.replace(several[0], reason="r\ufffd"), several[1]]
        assert all(type(credit.amount) is int for credit in found)
        step = verified(book.rows(LINKS), [], KEY)
        assert (step.rows, step.seals, step.found) == (2, 3, 0)


def test_credits_of_before_the_chain_are_chained_late() -> None:
    with books() as book:
        book.do("INSERT INTO grants VALUES (1, 'a', 1, 'l', NULL, 5, NULL, NULL, NULL)")
        begin(book)
        begin(book)
        put(book, Credit("b", "l", 1, 2))
        step = verified(book.rows(LINKS), [], KEY)
        assert (step.rows, step.found) == (2, 0)
        assert step.notes[0].startswith("credits up to seq 1 were chained on")


def test_two_administrators_at_once_leave_one_chain() -> None:
    with books() as book:
        begin(book)

        def give(number: int) -> None:
            with books(book.url) as mine:
                for n in range(10):
                    put(mine, Credit(f"{number}-{n}", "l", 1, 2))

        threads = [threading.Thread(target=give, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        step = verified(book.rows(LINKS), [], KEY)
        assert (step.rows, step.found) == (40, 0)

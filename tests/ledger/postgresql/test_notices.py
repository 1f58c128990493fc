"""A receiver is told once of each subject, by however many processes."""

from __future__ import annotations

import threading

import pytest

from proxy.core.notices.notice import Claim, Notice
from proxy.ledger.postgresql import _ORDERS
from proxy.ledger.postgresql.notices import claim, sent, unsent
from tests.ledger.postgresql.books import books

pytestmark = pytest.mark.whole  # a server of its own


def told(subject: str, message: str = "m", until_ms: int | None = None) -> Claim:
    notice = Notice(event="limit_near", at_ms=1, subject=subject, until_ms=until_ms, title="t")
    return Claim(receiver="r", message_id=message, notice=notice)


def test_a_claim_is_new_once_whatever_its_subjects_length() -> None:
    several = [told("a"), told("x" * 5000), told("a\0b")]
    with books() as book:
        assert book.line.transaction(lambda one: claim(one, several, 5)) == several
        assert book.line.transaction(lambda one: claim(one, [*several, told("b")], 5)) == [
            told("b")
        ]
        assert len(book.line.ask(lambda one: unsent(one, 10))) == 4
        book.line.transaction(lambda one: sent(one, ["m"]))
        assert book.line.ask(lambda one: unsent(one, 10)) == []


def test_rows_go_when_their_time_is_over() -> None:
    with books() as book:
        book.line.transaction(lambda one: claim(one, [told("a", until_ms=10)], 5))
        book.line.transaction(lambda one: sent(one, ["m"]))
        assert book.line.transaction(lambda one: claim(one, [told("a")], 10)) == []
        assert book.line.transaction(lambda one: claim(one, [told("a")], 11)) == [told("a")]


def test_one_of_several_processes_claims_it() -> None:
    with books() as book:
        book.rows("SELECT 1")
        won: list[int] = []

        def ask() -> None:
            with books(book.url) as mine:
                for n in range(20):
                    found = mine.line.transaction(
                        lambda one, n=n: claim(one, [told(f"s{n}")], 5),
                        begin=_ORDERS,  # type: ignore[misc]
                    )
                    won.append(len(found))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(won) == 20

"""One walk over the chains of records adds up what its steps found."""

from __future__ import annotations

from proxy.core.records.chain import Flaw
from proxy.ledger.verification import VerifyStep
from proxy.ledger.verifying import PROBLEMS_MAX, Verified, walked


def told(*whats: str) -> list[Flaw]:
    return [Flaw("records", what) for what in whats]


def test_each_step_begins_where_the_one_before_it_ended() -> None:
    steps = {
        None: VerifyStep(rows=3, seals=2, next="3"),
        "3": VerifyStep(rows=2, seals=1, foreign=1, findings=told("a"), next="5"),
        "5": VerifyStep(rows=1, findings=told("b", "c")),
    }
    assert walked(steps.__getitem__) == Verified(6, 3, 1, ("a", "b", "c"))


def test_a_book_that_was_made_anew_fills_no_memory() -> None:
    many = told(*map(str, range(PROBLEMS_MAX - 1)))
    steps = {
        None: VerifyStep(findings=many, next="1"),
        "1": VerifyStep(findings=many, next="2"),
        "2": VerifyStep(findings=told("last")),
    }
    found = walked(steps.__getitem__).problems
    assert len(found) == PROBLEMS_MAX and found[-1] == "0"

"""Anchors, whatever the database: a book without records has none, and one with records agrees."""

from __future__ import annotations

import msgspec
import pytest

from proxy.ledger import QuestionRefused
from proxy.ledger.verification import ANCHOR
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import KEY, make_record


def test_an_empty_book_refuses_the_question(ledgers: BookUnderTest) -> None:
    """The ledger is well: the admin API answers 409, and not that the ledger is unavailable."""
    with pytest.raises(QuestionRefused, match="has no records yet: there is nothing to anchor"):
        ledgers.reader().anchor()


def test_a_book_agrees_with_its_anchor(ledgers: BookUnderTest) -> None:
    ledgers.book(make_record(0), make_record(1))
    reader = ledgers.reader()
    anchor = reader.anchor()
    assert (anchor.ledger, anchor.seq, anchor.sealed_with(KEY)) == (reader.name, 2, True)
    step = reader.verify_step(ANCHOR, msgspec.json.encode(anchor).decode(), ledgers.key_file)
    assert (step.rows, step.found, list(step.notes)) == (1, 0, [])

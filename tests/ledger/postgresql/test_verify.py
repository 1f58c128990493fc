"""Every chain is verified, and a batch or a chain that is gone is told."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from proxy.ledger.postgresql.connection import opened
from proxy.ledger.postgresql.tables import APPEND_ONLY
from proxy.ledger.postgresql.verify import verify_book
from proxy.ledger.verifying import Verified
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import KEY, make_record

pytestmark = pytest.mark.whole  # a server of its own


@pytest.fixture
def many() -> Iterator[Books]:
    """Two writers with two batches each, in turn; its owner has taken the triggers away."""
    with books() as found:
        for n, writer in enumerate("abab"):
            found.book(make_record(10 * n), make_record(10 * n + 1), writer=writer)
        for table in APPEND_ONLY:
            found.do(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield found


def verified(book: Books, key: bytes | None = KEY) -> Verified:
    with opened(book.url, writes=False) as connection, connection.transaction():
        return verify_book(connection, key)


def test_a_book_left_alone_is_in_order(many: Books) -> None:
    assert verified(many) == Verified(8, 4, 0, ())
    assert verified(many, None) == verified(many, bytes(32)) == Verified(8, 4, 4, ())


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        (
            "UPDATE records SET output_tokens = 1 WHERE chain = 'b' AND chain_seq = 3",
            "chain 'b': record seq 3 .* changed since it was booked",
        ),
        (
            "DELETE FROM records WHERE chain = 'a' AND chain_seq = 2",
            "chain 'a': record seq 3 .* follows seq 1; rows between are missing",
        ),
        ("UPDATE heads SET seal = prev.hash FROM heads AS prev", "not made with this key"),
        ("DELETE FROM heads WHERE chain = 'a' AND chain_seq = 2", "batches behind seq 0 are miss"),
        (
            "DELETE FROM records WHERE chain = 'a'; DELETE FROM heads WHERE chain = 'a'",
            "the batch that ends at seq 4: batches behind seq 0 are missing",
        ),
        (
            "DELETE FROM records WHERE chain = 'b' AND chain_seq > 2; "
            "DELETE FROM heads WHERE chain = 'b' AND chain_seq > 2",
            "the book ends at seq 8, and its last batch at seq 6",
        ),
        (
            "UPDATE records SET chain = 'c' WHERE chain = 'a' AND chain_seq = 4",
            "chain 'c': record seq 4 .* follows seq 0",
        ),
        (
            "UPDATE records SET chain_seq = 9 WHERE chain = 'a' AND chain_seq = 4",
            "chain 'a': record seq 9",
        ),
    ],
)
def test_a_forgery_is_found(many: Books, tampering: str, said: str) -> None:
    for statement in tampering.split("; "):
        many.do(statement)
    problems = verified(many).problems
    assert any(re.search(said, problem) for problem in problems), problems


def test_a_pruned_chain_begins_at_its_checkpoint(many: Books) -> None:
    many.do(
        "INSERT INTO checkpoints SELECT chain, chain_seq, seq, hash, booked_at_ms, key_name, seal "
        "FROM heads WHERE seq = 2"
    )
    many.do("DELETE FROM records WHERE chain = 'a' AND chain_seq <= 2")
    many.do("DELETE FROM heads WHERE seq = 2")
    assert verified(many) == Verified(6, 3, 0, ())

"""An anchor of several chains: a book whose end was cut off, or made anew, does not agree with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.core.records.anchors import Anchor
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.postgresql.tables import APPEND_ONLY
from proxy.ledger.verification import ANCHOR, VerifyStep
from tests.ledger.postgresql.books import Books, books, key_file
from tests.ledger.samples import KEY, make_record

pytestmark = pytest.mark.whole  # a server of its own


@pytest.fixture
def many() -> Iterator[Books]:
    with books() as found:
        for n, writer in enumerate("aba"):
            found.book(make_record(10 * n), make_record(10 * n + 1), writer=writer)
        for table in APPEND_ONLY:
            found.do(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield found


def held(book: Books, anchor: Anchor, directory: Path) -> VerifyStep:
    text = msgspec.json.encode(anchor).decode()
    return PostgresReader(book.url).verify_step(ANCHOR, text, key_file(directory))


def test_an_anchor_holds_the_end_of_each_chain_while_the_book_grows(
    many: Books, tmp_path: Path
) -> None:
    anchor = PostgresReader(many.url).anchor()
    assert (anchor.seq, anchor.sealed_seq, anchor.sealed_with(KEY)) == (6, 4, True)
    assert {chain: end.seq for chain, end in anchor.chains.items()} == {"a": 4, "b": 2}
    assert [name for name, _ in anchor.ends()] == ["records of a", "records of b"]
    assert held(many, anchor, tmp_path).found == 0
    many.book(make_record(50), writer="b")
    many.book(make_record(60), writer="c")
    assert held(many, anchor, tmp_path).found == 0


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        (
            "DELETE FROM records WHERE chain = 'a' AND chain_seq > 2; "
            "DELETE FROM heads WHERE chain = 'a' AND chain_seq > 2; UPDATE cursor SET seq = 4",
            "records of a: the anchor was taken at seq 4, and they end at 2 now",
        ),
        (
            "DELETE FROM records WHERE chain = 'b'; DELETE FROM heads WHERE chain = 'b'",
            "records of b: the anchor was taken at seq 2, and they end at 0 now",
        ),
        (
            "UPDATE records SET hash = prev_hash WHERE chain = 'b' AND chain_seq = 2",
            "records of b: seq 2 has another hash than in the anchor",
        ),
    ],
)
def test_a_book_that_does_not_reach_its_anchor_is_told(
    many: Books, tmp_path: Path, tampering: str, said: str
) -> None:
    anchor = PostgresReader(many.url).anchor()
    for statement in tampering.split("; "):
        many.do(statement)
    [flaw] = held(many, anchor, tmp_path).findings
    assert flaw.what.startswith(said), flaw


def test_a_forged_anchor_is_told(many: Books, tmp_path: Path) -> None:
    anchor = msgspec.structs.replace(PostgresReader(many.url).anchor(), booked_at_ms=1)
    [flaw] = held(many, anchor, tmp_path).findings
    assert "forged" in flaw.what

"""The bytes of a row as they are hashed: the short way and the whole one, and what is changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records.canonical import HASHED_V2, canonical
from proxy.ledger import Batch, LedgerError
from proxy.ledger.sqlite.row_texts import exactly, links_of, sound_texts
from tests.ledger.samples import make_record, numbered, open_book, records
from tests.ledger.whole_book import forger_of, whole_book


def test_each_row_is_read_as_it_was_hashed(tmp_path: Path) -> None:
    connection = sqlite3.connect(whole_book(tmp_path))
    found = list(sound_texts(connection, 0, 33))
    rows = connection.execute(f"SELECT {', '.join(HASHED_V2)} FROM records ORDER BY seq")
    assert found == [canonical(row) for row in rows]
    ids = [id for (id,) in connection.execute("SELECT id FROM records ORDER BY seq")]
    assert [exactly(connection, seq + 1) for seq in range(33)] == list(zip(ids, found, strict=True))
    assert [link[0] for link in links_of(connection, 3, 9, 4)] == [4, 5, 6, 7]
    connection.close()


@given(one=records(1), text=st.text(max_size=20).map(lambda text: text.replace("\0", "")))
def test_any_text_is_read_as_it_was_hashed(one: object, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    connection, book = open_book(Path(":memory:"))
    book.book(Batch("w0", numbered(make_record(1, finish_reason=text, tags={"env": text}))))
    [found] = sound_texts(connection, 0, 1)
    assert found == exactly(connection, 1)[1]
    connection.close()


@pytest.mark.parametrize(
    "forgery",
    [
        "DELETE FROM records WHERE seq = 5",
        "UPDATE records SET team = 'x' WHERE seq = 5",
        "UPDATE records SET team = x'00' WHERE seq = 5",
        "UPDATE records SET hash_version = 9 WHERE seq = 5",
        "UPDATE records SET prev_hash = 'x' WHERE seq = 5",
    ],
)
def test_a_row_that_was_changed_ends_it(tmp_path: Path, forgery: str) -> None:
    forger = forger_of(whole_book(tmp_path))
    forger.execute(forgery)
    forger.text_factory = bytes
    forger.text_factory = str
    with pytest.raises(LedgerError, match="seq 5 is missing or was changed"):
        list(sound_texts(forger, 0, 33))
    forger.close()

"""The chains of several writers are divided by their length, and each is walked over to its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.ledger import connect_reader
from proxy.ledger.postgresql.tables import APPEND_ONLY
from proxy.ledger.postgresql.verify import BookPlace
from proxy.ledger.verification import verify
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import KEY, make_record
from tests.ledger.shared_walks import in_shares, small_books_too

pytestmark = pytest.mark.whole  # a server of its own


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """A long chain and two short ones, whose owner has taken the triggers away."""
    small_books_too(monkeypatch)
    with books() as found:
        for n, writer in enumerate("baaaaaaaac"):
            found.book(make_record(10 * n), make_record(10 * n + 1), writer=writer)
        for table in APPEND_ONLY:
            found.do(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield found


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    (tmp_path / "ledger.key").write_text(KEY.hex())
    return tmp_path / "ledger.key"


def test_a_long_chain_has_more_shares(many: Books, key_file: Path) -> None:
    reader = connect_reader(many.url, key_file.parent)
    found, workers = in_shares(reader, key_file, 4)
    assert found.found == 0 and found == verify(reader, key_file)
    places = [
        msgspec.json.decode(place or "", type=BookPlace) for place in workers.places["records"]
    ]
    assert [place.chain for place in places] == ["a", "a", "a", "b", "c"]
    assert [place.alone for place in places] == [True] * 4 + [False]
    assert [place.at.seq for place in places[:3]] == [0, 5, 10]  # in the middle of a batch too


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE records SET output_tokens = 1 WHERE chain = 'a' AND chain_seq IN (5, 6)",
        "DELETE FROM records WHERE chain = 'a' AND chain_seq = 5",
        "DELETE FROM records WHERE chain = 'a' AND chain_seq = 6",
        "DELETE FROM records WHERE chain = 'b'; DELETE FROM heads WHERE chain = 'b'",
        "DELETE FROM records WHERE chain = 'c'",
        "DELETE FROM heads WHERE chain = 'c'",
        "UPDATE heads SET key_name = 'other' WHERE chain = 'a' AND chain_seq > 8",
        "UPDATE cursor SET seq = seq + 1",
    ],
)
def test_what_is_wrong_is_told_as_one_walk_tells_it(
    many: Books, key_file: Path, tampering: str
) -> None:
    many.do(tampering)
    reader = connect_reader(many.url, key_file.parent)
    whole = verify(reader, key_file)
    assert whole.found > 0
    for count in (2, 9):
        assert in_shares(reader, key_file, count)[0] == whole

"""Roll-ups made anew are those that booking made, to the last column."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from proxy.ledger import Batch
from proxy.ledger.sqlite.rebuild import rebuild
from tests.ledger.samples import make_record, numbered, open_book, rows
from tests.ledger.whole_book import forger_of, verified, whole_book

NAMED = "JOIN rollup_groups AS g ON g.id = group_id"
TABLES = (
    "rollups",
    "carried_sums",
    *(f"rollups_{span} {NAMED}" for span in ("4h", "daily", "monthly")),
)


def sums(connection: sqlite3.Connection) -> list[list[dict[str, object]]]:
    """All roll-ups; a group's number is only its place."""
    found = []
    for table in TABLES:
        cursor = connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        lines = [dict(zip(names, row, strict=True)) for row in cursor]
        for line in lines:
            line.pop("group_id", None), line.pop("id", None)
        found.append(sorted(lines, key=repr))
    return found


def test_a_sound_book_keeps_its_rollups(tmp_path: Path) -> None:
    connection = sqlite3.connect(whole_book(tmp_path), isolation_level=None)
    before = sums(connection)
    assert rebuild(connection) == 33
    assert sums(connection) == before
    assert verified(tmp_path / "ledger.db").found == 0
    connection.close()


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE rollups SET charge_nano = 5",
        "DELETE FROM rollups",
        "DELETE FROM rollup_groups",
        "DELETE FROM rollups_monthly",
        "UPDATE fold SET folded_until_ms = 9",
        "UPDATE fold SET folded_until_ms = 9000000000000000",
        "DELETE FROM fold",
        "DELETE FROM served_models",
        "INSERT INTO rollups SELECT bucket_ms + 5, key_id, team, model_requested, upstream,"
        " currency, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 FROM rollups",
    ],
)
def test_what_was_forged_is_right_again(tmp_path: Path, forgery: str) -> None:
    connection = forger_of(whole_book(tmp_path))
    assert connection.execute(forgery).rowcount > 0
    assert verified(tmp_path / "ledger.db").found > 0
    rebuild(connection)
    assert verified(tmp_path / "ledger.db").found == 0
    connection.close()


def test_a_failure_leaves_them_as_they_were(tmp_path: Path) -> None:
    connection = sqlite3.connect(whole_book(tmp_path), isolation_level=None)
    before = sums(connection)
    connection.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON rollups_monthly"
        " BEGIN SELECT RAISE(ABORT, 'broken'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="broken"):
        rebuild(connection)
    assert sums(connection) == before
    connection.close()


def test_sums_beyond_63_bits_are_made_anew_exactly(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    for start in range(0, 192, 64):
        huge = [make_record(start + n, cost_nano=2**56, currency="VND") for n in range(64)]
        book.book(Batch("w0", numbered(*huge, after=start)))
    before = sums(connection)
    rebuild(connection)
    assert sums(connection) == before
    query = "SELECT r.cost_nano, c.cost_nano FROM rollups AS r JOIN carried_sums AS c"
    [(kept, units)] = rows(connection, f"{query} ON c.span = 'rollups'")
    assert kept + units * 2**62 == 192 * 2**56
    connection.close()


def test_an_empty_book_can_be_rebuilt(tmp_path: Path) -> None:
    connection, _ = open_book(tmp_path / "ledger.db")
    assert rebuild(connection) == 0
    connection.close()

"""Any stored value that changed is found; nothing is found in a book left alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.records.canonical import COLUMNS, GENESIS, HASHED_V2, chained, key_name, seal
from proxy.ledger import Batch, LedgerError
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.schema import APPEND_ONLY
from proxy.ledger.sqlite.verify import verify_chain
from proxy.ledger.verifying import PROBLEMS_MAX, Verified
from tests.ledger.samples import KEY, START_MS, make_record, numbered, open_book


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A book of two batches, three rows and two."""
    path = tmp_path / "ledger.db"
    connection, book = open_book(path)
    book.book(
        Batch(
            "w0", numbered(*(make_record(n, cost_nano=n, tags={"env": "prod"}) for n in range(3)))
        )
    )
    book.book(Batch("w0", numbered(*map(make_record, range(3, 5)), after=3)))
    connection.close()
    return path


@pytest.fixture
def forger(path: Path) -> Iterator[sqlite3.Connection]:
    """Someone who can write to the file, and has taken the triggers and the strictness out of the
    way."""
    connection = sqlite3.connect(path, isolation_level=None)
    for table in APPEND_ONLY:
        for verb in ("no_update", "no_delete", "known"):
            connection.execute(f"DROP TRIGGER {table}_{verb}")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE type = 'table' AND sql LIKE '%STRICT'"
    )
    connection.execute("PRAGMA writable_schema = RESET")
    yield connection
    connection.close()


def test_a_book_left_alone_is_in_order(path: Path) -> None:
    assert verify_chain(path, KEY) == Verified(
        records=5, seals=2, seals_of_other_keys=0, problems=()
    )


def test_an_empty_book_is_in_order(tmp_path: Path) -> None:
    open_book(tmp_path / "empty.db")[0].close()
    assert verify_chain(tmp_path / "empty.db", KEY) == Verified(
        records=0, seals=0, seals_of_other_keys=0, problems=()
    )


EACH_VALUE = [(column, seq) for column in COLUMNS for seq in (1, 3, 5)]


@pytest.mark.parametrize(
    ("column", "seq"), [pytest.param(*value, marks=[pytest.mark.campaign] if number % 4 else []) for number, value in enumerate(EACH_VALUE)]
)  # fmt: skip
def test_a_changed_value_is_found(
    path: Path, forger: sqlite3.Connection, column: str, seq: int
) -> None:
    (old,) = forger.execute(f"SELECT {column} FROM records WHERE seq = ?", (seq,)).fetchone()
    new: object
    if isinstance(old, bytes):
        new = bytes([old[0] ^ 1, *old[1:]])
    elif isinstance(old, str):
        new = chr(ord(old[0]) ^ 1) + old[1:]
    else:
        new = 1 if old is None else old + 100
    forger.execute(f"UPDATE records SET {column} = ? WHERE seq = ?", (new, seq))
    assert verify_chain(path, KEY).problems


def test_missing_rows_are_named(path: Path, forger: sqlite3.Connection) -> None:
    forger.execute("DELETE FROM records WHERE seq = 4")
    assert any(
        "follows seq 3; rows between are missing" in problem
        for problem in verify_chain(path, KEY).problems
    )


@pytest.mark.parametrize(
    "forgery",
    [
        "DELETE FROM records WHERE seq = 1",
        "DELETE FROM records WHERE seq = 2",
        "DELETE FROM records WHERE seq = 5",
        "DELETE FROM records",
        "DELETE FROM heads",
        "DELETE FROM heads WHERE seq = 5",
        "UPDATE heads SET seq = 4 WHERE seq = 5",
        "UPDATE heads SET seal = zeroblob(32) WHERE seq = 3",
        "UPDATE heads SET hash = zeroblob(32) WHERE seq = 3",
        "UPDATE heads SET booked_at_ms = booked_at_ms + 1",
        "UPDATE records SET model_served = CAST(model_served AS BLOB) WHERE seq = 2",
        "UPDATE records SET status = 200.5 WHERE seq = 2",
        "UPDATE records SET status = 'ok' WHERE seq = 2",
        "UPDATE records SET reason = '' WHERE seq = 2",
        "UPDATE records SET model_served = CAST(x'ff' || model_served AS TEXT) WHERE seq = 2",
        "UPDATE records SET hash = 'text' WHERE seq = 2",
    ],
)
def test_a_forgery_is_found(path: Path, forger: sqlite3.Connection, forgery: str) -> None:
    assert forger.execute(forgery).rowcount > 0
    assert verify_chain(path, KEY).problems


def test_base64_of_a_text_is_not_that_text(path: Path, forger: sqlite3.Connection) -> None:
    """The JSON of bytes is their base64: as text and as bytes a value would hash alike if types
    were not looked at."""
    row = list(
        forger.execute(f"SELECT {', '.join(HASHED_V2)} FROM records WHERE seq = 5").fetchone()
    )
    row[HASHED_V2.index("service_tier")] = "aGk="
    (prev_hash,) = forger.execute("SELECT hash FROM records WHERE seq = 4").fetchone()
    forged = chained(prev_hash, row)
    forger.execute("UPDATE records SET service_tier = x'6869', hash = ? WHERE seq = 5", (forged,))
    forger.execute(
        "UPDATE heads SET hash = ?, seal = ? WHERE seq = 5",
        (forged, seal(KEY, 5, START_MS + 5000, forged)),
    )
    assert verify_chain(path, KEY).problems == (
        f"record seq 5 id {row[0]!r}: changed since it was booked",
    )


def forge(forger: sqlite3.Connection, *, seals_too: bool) -> None:
    """Fewer tokens in every row, and all hashes right again; only the key is missing."""
    prev_hash = GENESIS
    for row in forger.execute(
        f"SELECT {', '.join(HASHED_V2)} FROM records ORDER BY seq"
    ).fetchall():
        values = list(row)
        values[HASHED_V2.index("output_tokens")] = 1
        row_hash = chained(prev_hash, values)
        forger.execute(
            "UPDATE records SET output_tokens = 1, prev_hash = ?, hash = ? WHERE seq = ?",
            (prev_hash, row_hash, values[1]),
        )
        if seals_too:
            forged = seal(b"guess", values[1], START_MS + 5000, row_hash)
            forger.execute(
                "UPDATE heads SET hash = ?, seal = ? WHERE seq = ?", (row_hash, forged, values[1])
            )
        prev_hash = row_hash


def test_a_chain_forged_under_its_seals_is_found(path: Path, forger: sqlite3.Connection) -> None:
    forge(forger, seals_too=False)
    assert verify_chain(path, KEY).problems == (
        "seal of seq 3: made for another row",
        "seal of seq 5: made for another row",
    )


def test_a_chain_forged_with_its_seals_is_found(path: Path, forger: sqlite3.Connection) -> None:
    forge(forger, seals_too=True)
    assert verify_chain(path, KEY).problems == (
        "seal of seq 3: not made with this key",
        "seal of seq 5: not made with this key",
    )
    forger.execute("UPDATE heads SET key_name = ?", (key_name(b"guess"),))
    assert verify_chain(path, KEY) == Verified(
        records=5, seals=2, seals_of_other_keys=2, problems=()
    )


def test_without_the_key_the_chain_alone_is_checked_and_the_answer_says_so(path: Path) -> None:
    assert verify_chain(path, None) == Verified(
        records=5, seals=2, seals_of_other_keys=2, problems=()
    )


def test_a_pruned_book_begins_at_its_checkpoint(path: Path, forger: sqlite3.Connection) -> None:
    (row_hash,) = forger.execute("SELECT hash FROM records WHERE seq = 2").fetchone()
    forger.execute(
        "INSERT INTO checkpoints VALUES (2, ?, ?, ?, ?)",
        (row_hash, START_MS, key_name(KEY), seal(KEY, 2, START_MS, row_hash)),
    )
    forger.execute("DELETE FROM records WHERE seq <= 2")
    assert verify_chain(path, KEY) == Verified(
        records=3, seals=2, seals_of_other_keys=0, problems=()
    )
    forger.execute("UPDATE checkpoints SET pruned_at_ms = 0")
    assert verify_chain(path, KEY).problems == ("checkpoint of seq 2: not made with this key",)


def test_booking_goes_on_after_a_checkpoint_with_no_row_left(
    path: Path, forger: sqlite3.Connection
) -> None:
    (row_hash,) = forger.execute("SELECT hash FROM records WHERE seq = 5").fetchone()
    forger.execute(
        "INSERT INTO checkpoints VALUES (5, ?, ?, ?, ?)",
        (row_hash, START_MS, key_name(KEY), seal(KEY, 5, START_MS, row_hash)),
    )
    forger.execute("DELETE FROM records")
    Booker(forger, KEY, lambda: START_MS).book(Batch("w0", numbered(make_record(7))))
    assert verify_chain(path, KEY) == Verified(
        records=1, seals=1, seals_of_other_keys=0, problems=()
    )


def test_the_list_of_problems_is_bounded(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "long.db")
    for start in range(0, 192, 64):
        book.book(Batch("w0", numbered(*(make_record(start + n) for n in range(64)))))
    connection.execute("DROP TRIGGER records_no_update")
    connection.execute("UPDATE records SET output_tokens = 0")
    connection.close()
    assert len(verify_chain(tmp_path / "long.db", KEY).problems) == PROBLEMS_MAX


def test_no_ledger_is_an_error_that_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="tollkeeper serve"):
        verify_chain(tmp_path / "missing.db", KEY)

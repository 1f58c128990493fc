"""What is carried of sums beyond 63 bits, and how a ledger comes to it from earlier versions."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ledger import Batch, connect_reader
from proxy.ledger.sqlite import bring_up
from proxy.ledger.sqlite.carried import UNIT, parted
from proxy.ledger.sqlite.schema import SCHEMA_VERSION, migrate
from tests.ledger.samples import KEY, make_record, numbered, open_book, rows
from tests.ledger.whole_book import verified

SUM = 192 * 2**56


@given(st.integers(-(2**70), 2**70) | st.sampled_from([UNIT, -UNIT, 2 * UNIT, -2 * UNIT, 3 * UNIT]))
def test_both_parts_are_the_sum_and_a_column_holds_each(total: int) -> None:
    kept, units = parted(total)
    assert kept is not None and abs(kept) <= UNIT
    assert kept + (units or 0) * UNIT == total
    assert units is None or kept, "a row of zeros would look as if nothing was there"


def test_what_is_not_known_stays_so() -> None:
    assert parted(None) == (None, None)


@pytest.fixture
def bounded(tmp_path: Path) -> Path:
    """A ledger of version 16, in which a sum stands at the bound of 63 bits."""
    connection, book = open_book(tmp_path / "ledger.db")
    (tmp_path / "ledger.key").write_text(KEY.hex())
    for start in range(0, 192, 64):
        huge = [
            make_record(start + n, charge_nano=2**56, cost_nano=1, currency="VND")
            for n in range(64)
        ]
        book.book(Batch("w0", numbered(*huge, after=start)))
    connection.execute("DROP TABLE carried_sums")
    connection.execute(f"UPDATE rollups SET charge_nano = {2**63 - 1}")
    connection.execute("PRAGMA user_version = 16")
    connection.close()
    return tmp_path / "ledger.db"


def told(path: Path) -> list[object]:
    reader = connect_reader(f"sqlite:{path.name}", path.parent)
    return [row["charge_nano"] for row in reader.usage((), None, None, UTC)]


def test_a_sum_at_the_bound_of_earlier_versions_is_made_anew(bounded: Path) -> None:
    assert told(bounded) == [2**63 - 1], "it can be read before"
    bring_up("sqlite:ledger.db", bounded.parent, None)
    assert told(bounded) == [SUM]
    assert verified(bounded).findings == []


def test_an_upgrade_that_ends_in_between_is_finished_at_the_next_start(bounded: Path) -> None:
    connection = sqlite3.connect(bounded, isolation_level=None)
    connection.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON rollups BEGIN SELECT RAISE(ABORT, 'broken'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="broken"):
        migrate(connection, "x")
    assert rows(connection, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    connection.execute("DROP TRIGGER broken")
    migrate(connection, "x")
    connection.close()
    assert told(bounded) == [SUM]


KILLED = """
import os, sqlite3, sys
from proxy.ledger.sqlite import schema
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
steps = int(sys.argv[2])
def step():
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), 9)
connection.set_progress_handler(step, 300)
schema.migrate(connection, "x")
"""


def test_an_upgrade_that_is_killed_anywhere_is_whole_after_the_next_start(bounded: Path) -> None:
    steps, ended = 0, -9
    while ended:
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(bounded), str(steps)], check=False
        ).returncode
        assert ended in (0, -9)
        steps = steps * 3 + 1
    assert steps > 3
    assert told(bounded) == [SUM]
    assert verified(bounded).findings == []


def test_a_ledger_of_usual_sums_is_not_made_anew(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(Batch("w0", numbered(make_record(0, charge_nano=2**56, currency="VND"))))
    connection.execute("DROP TABLE carried_sums")
    connection.execute("UPDATE rollups SET charge_nano = 7")
    connection.execute("PRAGMA user_version = 16")
    migrate(connection, "x")
    assert rows(connection, "SELECT charge_nano FROM rollups") == [(7,)]
    connection.close()

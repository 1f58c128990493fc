"""Credits in SQLite: for good, and told where they cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.ledger import LedgerUnavailable
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import add, begin_chain, credits_step
from tests.ledger.contract.test_credits import CREDIT
from tests.ledger.samples import KEY, START_MS, open_book


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, Booker]]:
    connection, book = open_book(tmp_path / "ledger.db")
    yield connection, book
    connection.close()


def test_a_ledger_that_cannot_take_it_says_so(opened: tuple[sqlite3.Connection, Booker]) -> None:
    connection, _ = opened
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerUnavailable):
        add(connection, CREDIT, KEY, START_MS)


def test_a_credit_is_not_changed(opened: tuple[sqlite3.Connection, Booker]) -> None:
    connection, _ = opened
    add(connection, CREDIT, KEY, START_MS)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE grants SET amount = 1")


def test_credits_of_before_the_chain_are_chained_late_and_it_says_so(
    opened: tuple[sqlite3.Connection, Booker],
) -> None:
    connection, _ = opened
    add(connection, CREDIT, KEY, START_MS)
    assert [finding.what for finding in credits_step(connection, KEY).findings] == [
        f"credit seq 1 id {CREDIT.id!r}: it was put in beside the chain"
    ]
    begin_chain(connection, KEY, START_MS)
    add(connection, msgspec.structs.replace(CREDIT, id="other"), KEY, START_MS + 1)
    begin_chain(connection, KEY, START_MS + 2)
    step = credits_step(connection, KEY)
    assert (step.rows, step.seals, step.found) == (2, 3, 0)
    assert step.notes[0].startswith("credits up to seq 1 were chained on 2026-11-")


def test_a_credit_that_the_process_did_not_give_is_found(
    opened: tuple[sqlite3.Connection, Booker],
) -> None:
    connection, _ = opened
    begin_chain(connection, KEY, START_MS)
    add(connection, CREDIT, KEY, START_MS)
    connection.execute(
        "INSERT INTO grants (id, granted_at_ms, limit_id, amount, unit)"
        " SELECT 'mine', granted_at_ms, limit_id, amount, 'x' FROM grants"
    )
    begin_chain(connection, KEY, START_MS)
    add(connection, msgspec.structs.replace(CREDIT, id="other"), KEY, START_MS)
    assert [finding.id for finding in credits_step(connection, KEY).findings] == [
        "other",
        "mine",
    ]


def test_a_credit_that_was_taken_out_is_found(opened: tuple[sqlite3.Connection, Booker]) -> None:
    connection, _ = opened
    begin_chain(connection, KEY, START_MS)
    add(connection, CREDIT, KEY, START_MS)
    connection.execute("DROP TRIGGER grants_no_delete")
    connection.execute("DELETE FROM grants")
    assert "changed" in credits_step(connection, KEY).findings[0].what

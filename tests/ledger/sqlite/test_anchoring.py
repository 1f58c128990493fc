"""What an anchor finds, and nothing else does."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest

from proxy.core.records.anchors import Anchor
from proxy.ledger import Batch
from proxy.ledger.sqlite import connect_reader
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.credits import begin_chain
from proxy.ledger.sqlite.rebuild import rebuild
from proxy.ledger.verification import verify
from tests.ledger.samples import KEY, START_MS, make_record, numbered, open_book
from tests.ledger.whole_book import forger_of, whole_book


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return whole_book(tmp_path)


def anchor_of(path: Path) -> Anchor:
    return connect_reader(f"sqlite:{path.name}", path.parent).anchor()


def said(path: Path, *anchors: Anchor) -> list[str]:
    reader = connect_reader(f"sqlite:{path.name}", path.parent)
    texts = [msgspec.json.encode(anchor).decode() for anchor in anchors]
    found = verify(reader, path.parent / "ledger.key", anchors=texts)
    return [flaw.what for flaw in found.findings]


def test_a_book_agrees_with_its_anchors_for_ever(path: Path) -> None:
    first = anchor_of(path)
    assert (first.seq, first.sealed_with(KEY)) == (33, True)
    assert first.credits is not None and first.credits.seq == 3
    assert first.audit is not None and first.audit.seq == 3
    connection = sqlite3.connect(path, isolation_level=None)
    Booker(connection, KEY, lambda: START_MS).book(Batch("w0", numbered(make_record(99))))
    connection.close()
    assert said(path, first, anchor_of(path)) == []


def test_a_cut_end_is_found_by_the_anchor_alone(path: Path) -> None:
    """The last batch goes with its seal, and the roll-ups are put right."""
    taken = anchor_of(path)
    forger = forger_of(path)
    for table in ("records", "heads"):
        forger.execute(f"DELETE FROM {table} WHERE seq = 33")
    rebuild(forger)
    forger.close()
    assert said(path) == []
    assert said(path, taken) == [
        "records: the anchor was taken at seq 33, and they end at 32 now: the end was cut off, or"
        " this is an older copy"
    ]


@pytest.mark.parametrize("table", ["audit", "grants"])
def test_the_end_of_the_other_chains_too(path: Path, table: str) -> None:
    taken = anchor_of(path)
    forger = forger_of(path)
    forger.execute(f"DELETE FROM {table} WHERE seq = 3")
    forger.execute("DELETE FROM credit_links WHERE seq = 3 AND ? = 'grants'", (table,))
    forger.close()
    assert said(path) == []
    [flaw] = said(path, taken)
    assert flaw.startswith(f"{'audit' if table == 'audit' else 'credits'}: ")


def test_a_book_made_anew_with_the_key_is_found_by_the_anchor_alone(path: Path) -> None:
    taken = anchor_of(path)
    other = path.parent / "other"
    other.mkdir()
    connection, book = open_book(other / "ledger.db")
    begin_chain(connection, KEY, START_MS)
    for n in range(0, 40, 4):
        cheap = [make_record(n + k, output_tokens=1) for k in range(4)]
        book.book(Batch("w0", numbered(*cheap, after=n)))
    connection.close()
    shutil.copy(path.parent / "ledger.key", other)
    assert said(other / "ledger.db") == []
    told = said(other / "ledger.db", taken)
    assert "records: seq 33 has another hash than in the anchor: the book was made anew" in told


def test_a_forged_anchor_is_told(path: Path) -> None:
    taken = msgspec.structs.replace(anchor_of(path), booked_at_ms=1)
    assert said(path, taken) == [
        "the anchor of seq 33 is forged: its seal was not made with this key"
    ]


def test_the_newest_part_is_looked_at_in_one_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.ledger.sqlite.verify.NEWEST_ROWS", 5)
    reader = connect_reader(f"sqlite:{path.name}", path.parent)
    step = reader.verify_step("newest", None, path.parent / "ledger.key")
    assert (step.found, step.next, step.rows) == (0, None, 5)
    forger = forger_of(path)
    forger.execute("UPDATE records SET team = 'x' WHERE seq = 2")
    assert reader.verify_step("newest", None, None).found == 0
    forger.execute("UPDATE records SET team = 'x' WHERE seq = 29")
    forger.close()
    found = reader.verify_step("newest", None, None).findings
    assert found[0].seq == 29 and found[1].part == "rollups"

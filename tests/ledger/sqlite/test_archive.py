"""What the file keeps of an archived month answers, refuses, and tells who changed it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.ledger import Batch, QuestionRefused
from proxy.ledger.reading import Stretch
from proxy.ledger.sqlite import connect_reader
from proxy.ledger.sqlite.booking import Booker
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered, open_book
from tests.ledger.sqlite.test_pruning import path as path
from tests.ledger.sqlite.test_pruning import pruned, told
from tests.ledger.whole_book import DAY_MS, forger_of, seal_all, verified


def test_questions_that_need_archived_records_are_refused_with_the_place(path: Path) -> None:
    last = pruned(path)
    reader = connect_reader("sqlite:ledger.db", path.parent)
    december_ms = START_MS + 30 * DAY_MS
    refused: list[Callable[[], Any]] = [
        lambda: reader.usage(["end_user"], None, None, UTC),
        lambda: reader.usage(["label:cost_center"], None, START_MS + DAY_MS, UTC),
        lambda: reader.usage(["team"], None, None, UTC, through=last),
        lambda: reader.usage(["team"], START_MS + 1, None, UTC),
        lambda: list(reader.pages(Stretch(through=last + 1))),
        lambda: reader.narrowed(Stretch(through=last + 1)),
        lambda: reader.label_names(Stretch(through=last + 1)),
        lambda: reader.used_by_value(None, 0),
    ]
    for ask in refused:
        with pytest.raises(
            QuestionRefused, match=r"2026-11 are archived, .*ledger-2026-11.parquet"
        ):
            ask()
    assert reader.usage(["end_user"], december_ms, None, UTC)
    assert reader.usage(["team"], december_ms + 1, None, UTC)
    assert [page.upto_seq for page in reader.pages(Stretch(after=last, through=33))] == [33]
    assert reader.narrowed(Stretch(through=33, from_ms=december_ms)).after >= last
    assert reader.used_by_value(None, december_ms)
    assert reader.record(make_id(0)) is None and reader.proof(make_id(0)) is None
    assert reader.proof(make_id(30)) is not None
    assert reader.status().first_seq == last + 1


def test_an_anchor_of_before_is_told_to_be_archived(path: Path) -> None:
    reader = connect_reader("sqlite:ledger.db", path.parent)
    anchor = msgspec.json.encode(reader.anchor()).decode()
    old = anchor.replace('"seq":33', '"seq":3', 1)
    pruned(path)
    step = reader.verify_step("anchor", anchor, path.with_name("ledger.key"))
    assert not step.found and not step.notes
    step = reader.verify_step("anchor", old, None)
    assert any("archived" in note or "pruned" in note for note in step.notes), step


def test_what_is_inconsistent_in_the_archive_is_still_counted(tmp_path: Path) -> None:
    connection, _ = open_book(tmp_path / "ledger.db")
    connection.execute("PRAGMA journal_mode = WAL")
    (tmp_path / "ledger.key").write_text(KEY.hex())
    book = Booker(connection, KEY, lambda: START_MS)
    some = [make_record(n, inconsistent=n % 2 == 0, key_id=f"k{n % 3}") for n in range(9)]
    book.book(Batch("w0", numbered(*some)))
    late = {"kind": "adjustment", "adjusts": make_id(0), "reason": "rerated", "currency": "CNY"}
    book.adjust([make_record(90, **late, key_id="k0", cost_nano=5, charge_nano=5)])
    book = Booker(connection, KEY, lambda: START_MS + 60 * DAY_MS)
    book.book(Batch("w0", numbered(make_record(20, started_at_ms=START_MS + 60 * DAY_MS), after=9)))
    connection.close()
    path = tmp_path / "ledger.db"
    seal_all(path)
    before = told(path)
    assert sum(row["inconsistent_requests"] for row in before[1]) == 5
    pruned(path)
    assert told(path) == before
    reader = connect_reader("sqlite:ledger.db", tmp_path)
    [row] = reader.usage(["key"], None, None, UTC, key="k1")
    assert row["inconsistent_requests"] == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE archived_sums SET charge_nano = 1 WHERE seq = 2",
        "DELETE FROM archived_sums WHERE seq = 3",
        "UPDATE archived_sums SET inconsistent_requests = 9 WHERE seq = 1",
        "INSERT INTO archived_sums SELECT 99, 77, bucket_ms, key_id, team, model_requested, "
        "upstream, currency, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM archived_sums WHERE seq = 1",
        "UPDATE archives SET file = 'other.parquet'",
        "UPDATE archives SET sha256 = x'00'",
        "UPDATE archives SET totals = replace(totals, '\"records\":', '\"records\":1')",
        "DELETE FROM archives",
        "DELETE FROM checkpoints",
        "UPDATE checkpoints SET hash = x'00'",
        "UPDATE rollups SET charge_nano = charge_nano + 1 WHERE bucket_ms < 1794000000000",
        "DELETE FROM rollups WHERE bucket_ms < 1793600000000",
        "UPDATE months SET root = x'00' WHERE month = '2026-11'",
        "DELETE FROM records WHERE seq = 25",
        "DELETE FROM records WHERE seq = (SELECT min(seq) FROM records)",
    ],
)
def test_what_is_changed_afterwards_is_found(path: Path, change: str) -> None:
    pruned(path)
    forger = forger_of(path)
    assert forger.execute(change).rowcount > 0
    forger.close()
    assert verified(path).found

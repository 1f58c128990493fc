"""Roll-ups are held against their records in stretches that grow and shrink, exactly."""

from __future__ import annotations

import sqlite3
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.verify_sums import rollups_step, wide_step
from tests.ledger import samples
from tests.ledger.samples import KEY, START_MS, make_id, make_record, numbered, open_book
from tests.ledger.whole_book import DAY_MS


def said(connection: sqlite3.Connection) -> list[str]:
    """All findings of both parts."""
    found: list[str] = []
    for step in (rollups_step, wide_step):
        place, first = None, True
        while first or place is not None:
            told = step(connection, place)
            found += [finding.what for finding in told.findings]
            place, first = told.next, False
    return found


@given(data=st.data())
def test_what_is_booked_is_never_a_finding(data: st.DataObject) -> None:
    """Any records, with late prices of some, folded at any time."""
    booked: list[UsageRecord] = [
        data.draw(samples.records(n)) for n in range(data.draw(st.integers(1, 12)))
    ]
    with tempfile.TemporaryDirectory() as directory:
        connection, _ = open_book(Path(directory) / "ledger.db")
        for at, record in enumerate(booked):
            now_ms = START_MS + data.draw(st.integers(0, 6)) * DAY_MS // 2
            book = Booker(connection, KEY, lambda now_ms=now_ms: now_ms)
            book.book(Batch("w0", numbered(record, after=at)))
            if data.draw(st.booleans()):
                late = make_record(
                    1000 + at,
                    kind="adjustment",
                    adjusts=data.draw(st.sampled_from(booked[: at + 1])).id,
                    started_at_ms=record.started_at_ms,
                    cost_nano=data.draw(st.none() | st.integers(-5, 5)),
                    currency=data.draw(st.sampled_from(["USD", "CNY"])),
                )
                original = next(one for one in booked if one.id == late.adjusts)
                late = make_record(
                    1000 + at,
                    kind="adjustment",
                    adjusts=late.adjusts,
                    started_at_ms=original.started_at_ms,
                    cost_nano=late.cost_nano,
                    currency=late.currency,
                )
                book.adjust([late])
        assert said(connection) == []
        connection.close()


def test_a_stretch_is_some_rows_long_however_much_time_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "verify_sums.STEP_ROWS",
        "verify_quickly.STEP_ROWS",
        "verify_quickly.FOUR_HOURS_ROWS",
    ):
        monkeypatch.setattr(f"proxy.ledger.sqlite.{name}", 8)
    connection, book = open_book(tmp_path / "ledger.db")
    rows = [make_record(n, started_at_ms=START_MS + n // 4 * 900_000) for n in range(64)]
    rows.append(make_record(99, started_at_ms=5))
    for at in range(0, 65, 13):
        book.book(Batch("w0", numbered(*rows[at : at + 13], after=at)))
    whole = partial(wide_step, quickly=False)
    for part, most, steps in ((rollups_step, 12, 8), (whole, 64, 8), (wide_step, 8, 16)):
        seen, place = [], None
        while not seen or place is not None:
            step = part(connection, place)
            seen.append(step.rows)
            place = step.next
            assert not step.findings
        assert max(seen) <= most and len(seen) <= steps
    connection.close()


def test_it_can_begin_late(tmp_path: Path) -> None:
    connection, book = open_book(tmp_path / "ledger.db")
    for n in range(3):
        book.book(
            Batch("w0", numbered(make_record(n, started_at_ms=START_MS + n * DAY_MS), after=n))
        )
    connection.execute("UPDATE rollups SET requests = 2 WHERE bucket_ms < ?", (START_MS + 9,))
    assert said(connection)[0].endswith("requests is 2 and must be 1")
    step = rollups_step(connection, None, since_ms=START_MS + DAY_MS)
    assert (step.rows, step.found) == (2, 0)
    connection.close()


def test_a_moved_record_names_its_line(tmp_path: Path) -> None:
    """The names in a finding are those of the roll-up, with its quarter hour in UTC."""
    connection, book = open_book(tmp_path / "ledger.db")
    book.book(Batch("w0", numbered(make_record(0, team=None, cost_nano=5, currency="USD"))))
    connection.execute("UPDATE rollups SET cost_nano = cost_nano * 2")
    assert said(connection) == [
        "roll-up of the quarter hour 2026-11-01T02:15:00+00:00, key_id 'alice', model_requested"
        " 'deepseek-v3.2', upstream 'modelmax', currency 'USD': cost_nano is 10 and must be 5"
    ]
    assert make_id(0)
    connection.close()

"""The gauges of the book's end are those of its last record."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from proxy.ledger.sqlite import connect_reader
from proxy.metrics.book_head import BookHead
from tests.ledger.whole_book import whole_book
from tests.support.waiting import guard


async def test_the_end_of_the_book_is_shown(tmp_path: Path) -> None:
    path = whole_book(tmp_path)
    reader = connect_reader(f"sqlite:{path.name}", tmp_path)
    head = BookHead(reader)
    assert (head.seq, head.hash) == (None, None)
    await head.refresh()
    last = reader.anchor().hash
    assert (head.seq, head.hash) == (33, int(last[:12], 16))
    assert head.hash is not None and int(float(head.hash)) == head.hash
    path.unlink()
    await head.refresh()
    assert (head.seq, head.hash) == (None, None)


async def test_a_ledger_that_hangs_keeps_no_page_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.metrics.book_head.ANSWER_MAX_S", 0.01)
    goes_on = threading.Event()
    reader = connect_reader("sqlite:ledger.db", tmp_path)
    monkeypatch.setattr(reader, "head", lambda: int(not goes_on.wait()))
    head = BookHead(reader)
    try:
        async with guard():
            await head.refresh()
        assert (head.seq, head.hash) == (None, None)
    finally:
        goes_on.set()

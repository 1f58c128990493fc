"""Real processes verify a book at once, and one that is killed is told and no hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import pytest

from proxy.ledger import LedgerError, connect_reader
from proxy.ledger.verification import verify
from proxy.ledger.verify_processes import Processes
from tests.ledger.shared_walks import small_books_too
from tests.ledger.whole_book import forger_of, seal_all, whole_book

pytestmark = pytest.mark.whole  # it starts processes


def test_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_books_too(monkeypatch)
    path = whole_book(tmp_path)
    seal_all(path)
    opened = partial(connect_reader, "sqlite:ledger.db", tmp_path)
    key_file = tmp_path / "ledger.key"
    whole = verify(opened(), key_file)
    moved: list[int] = []
    assert verify(opened(), key_file, moved.append, workers=Processes(opened, key_file, 2)) == whole
    assert sum(moved) == sum(part.rows for part in whole.parts)
    forger = forger_of(path)
    forger.execute("UPDATE records SET team = 'x' WHERE seq IN (3, 20)")
    forger.close()
    found = verify(opened(), key_file, workers=Processes(opened, key_file, 2))
    assert found == verify(opened(), key_file) and found.findings[0].seq == 3
    assert not multiprocessing.active_children()


def test_a_killed_process_is_told(tmp_path: Path) -> None:
    path = whole_book(tmp_path)
    opened = partial(connect_reader, "sqlite:ledger.db", path.parent)
    workers = Processes(opened, None, 2)
    assert workers.steps("prices", None).result()[0].rows == 1
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    with pytest.raises(BrokenExecutor):
        verify(opened(), None, workers=workers)


def test_what_a_reader_raises_elsewhere_is_raised_here(tmp_path: Path) -> None:
    path = whole_book(tmp_path)
    opened = partial(connect_reader, "sqlite:ledger.db", path.parent)
    workers = Processes(opened, None, 2)
    try:
        assert workers.steps("prices", None).result()[0].rows == 1
        path.unlink()
        with pytest.raises(LedgerError, match="ledger"):
            workers.steps("prices", None).result()
    finally:
        workers.stop()

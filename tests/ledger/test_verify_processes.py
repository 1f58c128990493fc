"""Real processes verify a book at once, and one that is killed is told and no hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import pytest

from proxy.ledger import LedgerError, connect_reader
from proxy.ledger.verification import verify
from proxy.ledger.verify_processes import Processes
from tests.ledger.shared_walks import small_books_too
from tests.ledger.whole_book import forger_of, seal_all, whole_book
from tests.support.waiting import until_blocking

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


def test_no_process_outlives_its_parent(tmp_path: Path) -> None:
    """A killed command stops none of its processes itself."""
    whole_book(tmp_path)
    code = (
        "import multiprocessing, sys, time\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from proxy.ledger import connect_reader\n"
        "from proxy.ledger.verify_processes import Processes\n"
        "if __name__ == '__main__':\n"
        "    opened = partial(connect_reader, 'sqlite:ledger.db', Path(sys.argv[1]))\n"
        "    workers = Processes(opened, None, 2)\n"
        "    both = [workers.steps('records', None) for _ in range(2)]\n"
        "    print(*(len(one.result()) for one in both))\n"
        "    print(*(one.pid for one in multiprocessing.active_children()), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    script = tmp_path / "begin.py"
    script.write_text(code)
    first = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdin is not None and first.stdout is not None
    with first.stdin, first.stdout:
        first.stdout.readline()
        pids = first.stdout.readline().split()
        assert pids
        first.kill()
        first.wait()
    until_blocking(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid: str) -> bool:
    """Whether there is such a process, and not only what is left of it for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

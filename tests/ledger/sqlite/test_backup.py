"""A backup is the book at one moment, whole or not there, while a process books."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.ledger import Batch, LedgerError, LedgerUnavailable, backups
from proxy.ledger.sqlite import backup, connect_reader
from proxy.ledger.sqlite.booking import Booker
from tests.ledger.samples import KEY, START_MS, make_record, numbered
from tests.ledger.whole_book import forger_of, seal_all, verified, whole_book

HEAD = 33  # of `whole_book`


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = whole_book(tmp_path)
    seal_all(made)
    return made


def back_up(path: Path, target: Path, **more: Any) -> backups.BackedUp:
    settings = {"key_file": path.with_name("ledger.key"), **more}
    return backups.back_up(f"sqlite:{path.name}", path.parent, target, **settings)


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_a_copy_is_the_book_of_one_moment_while_a_process_books(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer books and checkpoints between any two steps of the copy."""
    monkeypatch.setattr(backup, "STEP_PAGES", 1)
    before = rows(path, "SELECT * FROM records ORDER BY seq")
    steps = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 1")
        book = Booker(writer, KEY, lambda: START_MS)

        def told(what: str, done: int, of: int) -> None:
            nonlocal steps
            if what == "Copying":
                steps += 1
                assert steps < 1000, "it begins anew each time"
                book.book(Batch("w0", numbered(make_record(1000 + steps), after=1000 + steps)))

        done = back_up(path, path.with_name("copy.db"), told=told)
    assert steps > 20
    assert (done.last_seq, done.verified is not None) == (HEAD, True)
    copy = path.with_name("copy.db")
    assert rows(copy, "SELECT * FROM records ORDER BY seq") == before
    assert rows(path, "SELECT max(seq) FROM records") == [(HEAD + steps,)]
    [(last,)] = rows(path, f"SELECT hash FROM records WHERE seq = {HEAD}")
    assert done.last_hash == last.hex()
    assert (done.bytes, done.sha256) == (
        copy.stat().st_size,
        hashlib.sha256(copy.read_bytes()).hexdigest(),
    )
    assert not verified(copy).found


def test_the_copy_is_one_file_of_its_owner_alone_which_needs_no_other(path: Path) -> None:
    umask = os.umask(0)
    try:
        back_up(path, path.parent / "copy" / ".." / "copy.db")
    except LedgerError as error:
        assert "make it first" in str(error)
    else:
        raise AssertionError("there is no such directory")
    try:
        copy = path.with_name("copy.db")
        back_up(path, copy)
    finally:
        os.umask(umask)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.glob("copy*")] == ["copy.db"]
    assert copy.read_bytes()[18:20] == b"\1\1", "SQLite's mark of a file without a log"
    alone = path.parent / "elsewhere"
    alone.mkdir()
    shutil.copy(copy, alone / "ledger.db")
    alone.chmod(0o500)  # nothing can be made beside it
    try:
        assert rows(alone / "ledger.db", "SELECT count(*) FROM records") == [(HEAD,)]
        assert list(alone.iterdir()) == [alone / "ledger.db"]
        assert connect_reader("sqlite:ledger.db", alone).head() == HEAD
    finally:
        alone.chmod(0o700)


def test_nothing_is_replaced_that_was_not_named_for_it(path: Path) -> None:
    copy = path.with_name("copy.db")
    copy.write_text("an earlier one")
    with pytest.raises(LedgerError, match=r"exists: .*--force"):
        back_up(path, copy)
    assert copy.read_text() == "an earlier one"
    back_up(path, copy, replace=True)
    assert rows(copy, "SELECT count(*) FROM records") == [(HEAD,)]
    for name in ("ledger.db", "ledger.db-wal", "ledger.db.lock"):
        with pytest.raises(LedgerError, match="belongs to the ledger itself"):
            back_up(path, path.parent / "." / name, replace=True)
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(LedgerError, match="belongs to the ledger itself"):
        back_up(path, link, replace=True)
    link.unlink()
    link.symlink_to(copy)
    for one in (link, path.parent, Path(os.devnull)):
        with pytest.raises(LedgerError, match=r"no ordinary file|is a directory: name a file"):
            back_up(path, one, replace=True)
    assert rows(path, "SELECT count(*) FROM records") == [(HEAD,)]


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_a_left_over_log_is_not_mixed_into_the_backup(path: Path, end: str) -> None:
    """SQLite would take it for a part of the new file."""
    side = path.with_name(f"copy.db{end}")
    side.write_text("of an earlier one")
    with pytest.raises(LedgerError, match="remove it"):
        back_up(path, path.with_name("copy.db"), replace=True)
    assert not path.with_name("copy.db").exists()


def test_a_damaged_book_gets_no_backup_and_the_earlier_one_stays(path: Path) -> None:
    copy = path.with_name("copy.db")
    back_up(path, copy)
    good = copy.read_bytes()
    forger = forger_of(path)
    forger.execute("UPDATE records SET charge_nano = 1 WHERE seq = 7")
    forger.close()
    with pytest.raises(backups.BackupDamaged, match="seq 7") as told:
        back_up(path, copy, replace=True)
    assert told.value.found.found and copy.read_bytes() == good
    assert not list(path.parent.glob("*.part*"))
    done = back_up(path, copy, replace=True, check=False)
    assert done.verified is None and verified(copy).found


def test_what_is_written_is_read_again_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stores something else than it was given."""
    written = backup._copy

    def flipped(source: Path, draft: Path, told: backups.Told) -> None:
        written(source, draft, told)
        draft.write_bytes(draft.read_bytes().replace(b"completed", b"complaint"))

    monkeypatch.setattr(backup, "_copy", flipped)
    with pytest.raises(backups.BackupDamaged):
        back_up(path, path.with_name("copy.db"))
    assert not path.with_name("copy.db").exists()


def test_a_full_disk_and_an_interruption_leave_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = path.with_name("copy.db")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(path, copy, told=interrupted)
    monkeypatch.setattr(
        backup, "_durable", lambda _: (_ for _ in ()).throw(OSError(28, "No space"))
    )
    with pytest.raises(LedgerError, match=f"cannot write {copy}: No space"):
        back_up(path, copy)
    assert not list(path.parent.glob("copy*"))


def test_what_is_no_ledger_gets_no_backup(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger"):
        back_up(tmp_path / "ledger.db", tmp_path / "copy.db")
    (tmp_path / "ledger.db").write_bytes(b"something else, and long enough for a head" * 100)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        back_up(tmp_path / "ledger.db", tmp_path / "copy.db")
    assert [one.name for one in tmp_path.iterdir()] == ["ledger.db"]

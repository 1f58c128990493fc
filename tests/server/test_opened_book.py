"""A ledger that is away at the start: what the data directory must have, else the reason."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import pytest

from proxy.config.settings import LedgerSettings, Settings
from proxy.core.fault_points import no_fault
from proxy.core.managed import Managed, State, TenantKind
from proxy.ledger import LedgerUnavailable
from proxy.server.opened_book import OpenedBook, open_book
from proxy.tenants.known_file import FILE, KnownFile

KEY = "ab" * 32
AWAY = "postgresql://app:secret@127.0.0.1:9/tk?sslmode=prefer"
ROWS = (Managed(kind=TenantKind.KEY, name="bob", state=State.SUSPENDED),)


async def opened(directory: Path, url: str = AWAY) -> OpenedBook:
    async with contextlib.AsyncExitStack() as close:
        settings = Settings(data_dir=directory, ledger=LedgerSettings(url=url))
        return await open_book(settings, close, no_fault)


def known(directory: Path) -> KnownFile:
    (directory / "ledger.key").write_text(KEY)
    file = KnownFile(directory, bytes.fromhex(KEY), "127.0.0.1:9/tk")
    file.write(3, ROWS, time.time_ns() // 1_000_000 - 60_000, anew=False)
    return file


async def test_a_start_goes_by_what_is_known_with_its_age(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known(tmp_path).close()
    for url in (AWAY, "postgresql://other:changed@127.0.0.1:9/tk"):
        book = await opened(tmp_path, url)
        assert tuple(book.rows) == ROWS and book.salts is None and not book.is_there
        assert 60 <= (book.silent_s or 0) < 300
    assert "known 6" in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "there is no"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged"),
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: (path.parent / "ledger.key").unlink(), r"ledger\.key"),
        (lambda path: (path.parent / "ledger.key").write_text("cd" * 32), r"another ledger\.key"),
    ],
)
async def test_without_it_the_start_ends_with_both_reasons(
    tmp_path: Path, spoil: object, said: str
) -> None:
    known(tmp_path).close()
    assert callable(spoil)
    spoil(tmp_path / FILE)
    with pytest.raises(
        LedgerUnavailable, match=r"127\.0\.0\.1:9/tk.*To start without it: "
    ) as ended:
        await opened(tmp_path)
    assert re.search(said, str(ended.value))


async def test_a_ledger_of_one_process_has_no_such_file(tmp_path: Path) -> None:
    book = await opened(tmp_path, "sqlite:ledger.db")
    assert book.is_there and book.kept is None
    assert not (tmp_path / FILE).exists()

"""A month is taken out of the book over the admin API, or stays with the reason."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.accounting.archiving.job import due_months, order_of, write_month
from proxy.admin.archiving import ARCHIVE_PATH
from proxy.cli.common import Failed
from proxy.ledger import connect_reader
from proxy.ledger.archives import Archive
from tests.accounting.archiving.years import ms_of, old_ledger, old_shared_ledger
from tests.admin.test_tenants import desk
from tests.ledger.postgresql.books import books


async def test_a_month_goes_or_stays(tmp_path: Path) -> None:
    async with desk(tmp_path):
        pass
    for path in (tmp_path / "var").glob("ledger.*"):
        path.unlink()
    old_ledger(tmp_path / "var")
    reader = connect_reader("sqlite:ledger.db", tmp_path / "var")
    due = due_months("sqlite:ledger.db", tmp_path / "var", "2026-02", ms_of(11, 30))[0]
    note = write_month(reader, due, tmp_path, lambda _: None)
    async with desk(tmp_path) as admin:
        order = order_of(note)
        with pytest.raises(Failed, match=r"stays in the book: .*no closed statement"):
            await admin.ask("POST", ARCHIVE_PATH, order, type=Archive)
        forced = msgspec.structs.replace(order, forced=("unclosed",))
        wrong = msgspec.structs.replace(forced, root="00" * 32)
        with pytest.raises(Failed, match="other records than those sealed"):
            await admin.ask("POST", ARCHIVE_PATH, wrong, type=Archive)
        done = await admin.ask("POST", ARCHIVE_PATH, forced, type=Archive)
        assert (done.month, done.last_seq, done.sha256) == ("2026-01", 5, note.sha256)
        [entry] = admin.proxy.query("SELECT * FROM audit WHERE kind = 'ledger'")
        assert entry["action"] == "ledger.archive" and note.sha256 in str(entry["after"])
        with pytest.raises(Failed, match="archived already"):
            await admin.ask("POST", ARCHIVE_PATH, forced, type=Archive)


@pytest.mark.whole  # a server of its own
async def test_a_process_whose_role_may_delete_takes_a_month_out_of_a_shared_ledger(
    tmp_path: Path,
) -> None:
    with books() as book:
        old_shared_ledger(tmp_path / "var", book)
        due = due_months(book.url, tmp_path / "var", "2026-02", ms_of(11, 30))[0]
        reader = connect_reader(book.url, tmp_path / "var")
        order = order_of(write_month(reader, due, tmp_path, lambda _: None), ("unclosed",))
        async with desk(tmp_path, ledger={"url": book.url}) as admin:
            done = await admin.ask("POST", ARCHIVE_PATH, order, type=Archive)
            assert (done.month, done.last_seq) == ("2026-01", 5)
            with pytest.raises(Failed, match="archived already"):
                await admin.ask("POST", ARCHIVE_PATH, order, type=Archive)
        assert book.rows("SELECT count(*) FROM records") == [(11,)]

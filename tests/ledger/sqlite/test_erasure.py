"""A deleted salt is in no page of the file and in no log beside it."""

from __future__ import annotations

from pathlib import Path

from proxy.ledger import Batch, connect
from proxy.ledger.sqlite.erasure import erase
from tests.ledger.contract.test_erasure import DEED
from tests.ledger.samples import KEY, make_record, numbered, open_book


async def test_its_bytes_are_gone_from_the_file(tmp_path: Path) -> None:
    salts = [(f"{n:032x}", f"salt of user {n:03}".encode()) for n in range(200)]
    ledger = await connect("sqlite:ledger.db", tmp_path)
    try:
        await ledger.book(Batch("w0", numbered(make_record(1)), salts=salts))
        files = [tmp_path / "ledger.db", tmp_path / "ledger.db-wal"]
        assert any(b"salt of user 077" in file.read_bytes() for file in files)
        assert await ledger.erase_end_user(salts[77][0], DEED)
        assert not any(b"salt of user 077" in file.read_bytes() for file in files)
        assert any(b"salt of user 078" in file.read_bytes() for file in files)
        assert len(await ledger.salts()) == 199
    finally:
        await ledger.aclose()


def test_a_library_that_leaves_deleted_bytes_is_told_not_to(tmp_path: Path) -> None:
    """Some are built to overwrite them always, and others never."""
    path = tmp_path / "ledger.db"
    connection, book = open_book(path)
    book.book(Batch("w0", salts=[("a" * 32, b"the salt of ann")]))
    for usual in (0, 1):
        connection.execute(f"PRAGMA secure_delete = {usual}")
        assert erase(connection, KEY, "a" * 32, DEED, kept=None, known=False) is not bool(usual)
        assert connection.execute("PRAGMA secure_delete").fetchone() == (usual,)
        assert b"the salt of ann" not in path.read_bytes()
    connection.close()

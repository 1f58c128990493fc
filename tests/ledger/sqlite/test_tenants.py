"""Keys, teams and the audit in SQLite: append-only, and proved."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from proxy.core.managed import TenantChange
from proxy.ledger import connect, connect_reader
from tests.ledger.samples import ALICE, deed

URL = "sqlite:ledger.db"


async def written(directory: Path, *changes: TenantChange) -> None:
    ledger = await connect(URL, directory)
    for change in changes:
        await ledger.change(change)
    await ledger.aclose()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tenants",
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'nobody'",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit",
    ],
)
async def test_no_name_and_no_deed_can_be_taken_out_by_sql(tmp_path: Path, statement: str) -> None:
    await written(tmp_path, TenantChange((ALICE,), (deed("create"),)))
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        before = other.execute("SELECT * FROM audit").fetchall()
        try:
            other.execute(statement)
        except sqlite3.IntegrityError as error:
            assert "append-only" in str(error) or "never used again" in str(error)
        assert other.execute("SELECT * FROM audit").fetchall() == before
        assert other.execute("SELECT count(*) FROM tenants").fetchone() == (1,)
    other.close()


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 2", "entry 2: changed"),
        ("DELETE FROM audit WHERE seq = 2", "entry 3: follows entry 1"),
        ("UPDATE audit SET prev_hash = zeroblob(32) WHERE seq = 3", "entry 3: does not follow"),
        ("UPDATE audit SET seal = zeroblob(32) WHERE seq = 1", "entry 1: its seal"),
    ],
)
async def test_a_change_behind_the_ledgers_back_is_found(
    tmp_path: Path, tampering: str, said: str
) -> None:
    await written(tmp_path, *(TenantChange((ALICE,), (deed(name),)) for name in ("a", "b", "c")))
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        for verb in ("update", "delete"):
            other.execute(f"DROP TRIGGER audit_no_{verb}")
        other.execute(tampering)
        other.commit()
    other.close()
    found = connect_reader(URL, tmp_path).audit_problems(tmp_path / "ledger.key")
    assert any(said in one for one in found), found

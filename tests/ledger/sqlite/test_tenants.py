"""Keys, teams and the audit in the book: durable together, append-only, and proved."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from proxy.core.managed import Audit, KeySecret, Managed, State, TenantChange, TenantKind
from proxy.ledger import connect, connect_reader

URL = "sqlite:ledger.db"
AT_MS = 1_793_500_000_000
ALICE = Managed(
    kind=TenantKind.KEY,
    name="alice",
    says=msgspec.Raw(b'{"team":"research"}'),
    secrets=(KeySecret("ab" * 32, AT_MS),),
    created_at_ms=AT_MS,
    created_by="root",
)


def deed(action: str, **more: str) -> Audit:
    return Audit(
        at_ms=AT_MS, actor="root", origin="socket", action=action, kind="key", name="alice", **more
    )


async def written(directory: Path, *changes: TenantChange) -> None:
    ledger = await connect(URL, directory)
    for change in changes:
        await ledger.change(change)
    await ledger.aclose()


async def test_what_is_written_is_there_after_reopening_the_latest_of_each_name(
    tmp_path: Path,
) -> None:
    gone = msgspec.structs.replace(ALICE, state=State.REVOKED)
    await written(
        tmp_path,
        TenantChange((ALICE,), (deed("create", after='{"team":"research"}'),)),
        TenantChange((gone,), (deed("revoke", reason="left us"),)),
    )
    ledger = await connect(URL, tmp_path)
    assert await ledger.tenants() == [gone]
    await ledger.aclose()
    reader = connect_reader(URL, tmp_path)
    assert reader.tenants() == [gone]
    entries = reader.audit(0, 10)
    assert [(entry.seq, entry.deed.action, entry.deed.reason) for entry in entries] == [
        (1, "create", None),
        (2, "revoke", "left us"),
    ]
    assert reader.audit(1, 10) == entries[1:]
    assert reader.audit(0, 1) == entries[:1]
    assert reader.audit_problems(tmp_path / "ledger.key") == []


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


async def test_a_failed_change_leaves_neither_rows_nor_audit(tmp_path: Path) -> None:
    ledger = await connect(URL, tmp_path)
    broken = msgspec.structs.replace(deed("create"), name=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        await ledger.change(TenantChange((ALICE,), (deed("create"), broken)))
    assert await ledger.tenants() == []
    await ledger.change(TenantChange((ALICE,), (deed("create"),)))
    await ledger.aclose()
    assert [entry.seq for entry in connect_reader(URL, tmp_path).audit(0, 9)] == [1]

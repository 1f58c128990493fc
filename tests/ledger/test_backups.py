"""Which ledgers this program backs up, and what it says of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger.backups import NoBackup, back_up


def test_a_ledger_in_postgresql_is_left_to_its_own_tools(tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match="pg_dump") as told:
        back_up("postgresql://u:geheim@db/x", tmp_path, tmp_path / "b", key_file=tmp_path / "k")
    assert "geheim" not in str(told.value)
    assert list(tmp_path.iterdir()) == []

"""What the file of keys is written for, and what is told when a ledger comes back older."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.settings import Settings
from proxy.core.managed import Managed, State, TenantKind
from proxy.server.known_keys import KeptKeys
from proxy.tenants.directory import Directory
from proxy.tenants.known_file import FILE, KnownFile, SnapshotRefused

AT_MS = 1_800_000_000_000


def directory(state: State) -> Directory:
    return Directory(Settings(), [Managed(kind=TenantKind.KEY, name="bob", state=state)])


def file(tmp_path: Path) -> KnownFile:
    return KnownFile(tmp_path, b"k" * 32, "db/tk")


async def test_a_ledger_that_came_back_older_is_told_with_the_keys_that_are_open_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await KeptKeys(file(tmp_path), None).write(directory(State.REVOKED), 9, AT_MS)
    again = KeptKeys(file(tmp_path), file(tmp_path).read())
    await again.write(directory(State.ACTIVE), 4, AT_MS)
    assert "version 4, this process knew 9" in caplog.text
    assert "Closed before, and open now: key bob" in caplog.text
    assert file(tmp_path).read().version == 4, "the ledger is what holds"
    caplog.clear()
    await again.write(directory(State.ACTIVE), 5, AT_MS)
    assert not caplog.text


async def test_what_another_process_has_overtaken_is_written_again(tmp_path: Path) -> None:
    slow, kept = KeptKeys(file(tmp_path), None), KeptKeys(file(tmp_path), None)
    await slow.write(directory(State.ACTIVE), 4, AT_MS)
    await kept.heard(directory(State.SUSPENDED), 5, AT_MS)
    assert file(tmp_path).read().version == 5


async def test_a_file_that_cannot_be_written_is_told_and_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptKeys(file(tmp_path), None)
    await kept.write(directory(State.ACTIVE), 4, AT_MS)
    (tmp_path / f"{FILE}.new").mkdir()
    await kept.write(directory(State.SUSPENDED), 5, AT_MS)
    assert kept.failures == 1
    assert "cannot start while the ledger is away" in caplog.text
    with pytest.raises(SnapshotRefused):
        file(tmp_path).read()

"""The shared parts, made in order: what is closed again after a start that failed half-way, and
which clock they go by."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec
import pytest
import yaml

from proxy.config.loader import load
from proxy.core.clock import SteadyClock
from proxy.core.fault_points import no_fault
from proxy.dataplane.snapshot import Snapshot
from proxy.journal import Journal, JournalUnavailable
from proxy.ledger import LedgerError, connect_reader
from proxy.server.startup import StartError, assemble, compiled, journal_options
from tests.accounting.test_recorder import living
from tests.support.running import config, vocabularies


def snapshot(directory: Path) -> Snapshot:
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config("http://127.0.0.1:9/v1")))
    return Snapshot(load(path, {}).settings)


async def test_a_start_that_fails_half_way_leaves_the_directory_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = snapshot(tmp_path)
    made.settings.data_dir.mkdir()

    def full(*_: object, **named: object) -> Journal:
        raise JournalUnavailable("the disk is full")

    async with contextlib.AsyncExitStack() as close:
        with monkeypatch.context() as patch, pytest.raises(JournalUnavailable):
            patch.setattr(Journal, "claim", full)
            await assemble(
                made, close, fail=no_fault, vocabularies=vocabularies(), clock=SteadyClock()
            )
        with pytest.raises(LedgerError):  # still held: nobody has closed it
            await assemble(
                made, close, fail=no_fault, vocabularies=vocabularies(), clock=SteadyClock()
            )
    async with contextlib.AsyncExitStack() as close:
        services, _ = await assemble(
            made, close, fail=no_fault, vocabularies=vocabularies(), clock=SteadyClock()
        )
        assert services.journal.writer == "w0"


async def test_time_of_day_does_not_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = snapshot(tmp_path)
    made.settings.data_dir.mkdir()
    clock = SteadyClock()
    async with contextlib.AsyncExitStack() as close:
        services, _ = await assemble(
            made, close, fail=no_fault, vocabularies=vocabularies(), clock=clock
        )
        shown = [1_800_000_000_000, 1_799_999_000_000, 1_800_000_000_500, 1_700_000_000_000]
        for system_ms, steady_ms in zip(
            shown, [shown[0], shown[0], shown[2], shown[3]], strict=True
        ):
            with monkeypatch.context() as patch:
                patch.setattr("time.time_ns", lambda system_ms=system_ms: system_ms * 1_000_000)
                assert services.now_ms() == steady_ms
        assert clock.take_step() == shown[3] - shown[2]


def test_journals_are_not_taken_over_by_locks_that_do_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = snapshot(tmp_path).settings
    journal = msgspec.structs.replace(settings.journal, adopt=True)
    adopting = msgspec.structs.replace(settings, journal=journal)
    mounts = tmp_path / "mounts"
    monkeypatch.setattr("proxy.journal.shared_locks.MOUNTS", mounts)
    line = f"36 35 98:0 / {tmp_path} rw shared:1 - {{}} server:/export {{}}"
    mounts.write_text(line.format("nfs", "rw,local_lock=all"))
    with pytest.raises(StartError, match=r"journal\.adopt: .*local_lock=all, so a lock holds on"):
        compiled(adopting)
    compiled(settings)
    assert "journal.adopt" not in caplog.text
    mounts.write_text(line.format("virtiofs", "rw"))
    compiled(adopting)
    assert "of kind virtiofs" in caplog.text


def test_the_journal_is_as_the_config_says(tmp_path: Path) -> None:
    settings = snapshot(tmp_path).settings
    assert journal_options(settings).segment_bytes == settings.journal.segment_bytes == 2**20


async def test_a_journal_of_another_ledger_is_refused_and_nothing_is_booked(tmp_path: Path) -> None:
    made = snapshot(tmp_path)
    ours, theirs = made.settings.data_dir, tmp_path / "theirs"
    for directory, numbers in ((ours, (1, 2)), (theirs, (11, 12, 13))):
        directory.mkdir()
        async with living(directory) as life:
            life.end(*numbers)
            await life.recorder.drain(600)
    shutil.rmtree(ours / "journal")
    shutil.copytree(theirs / "journal", ours / "journal")
    async with contextlib.AsyncExitStack() as close:
        with pytest.raises(LedgerError, match="w0 is of another ledger"):
            await assemble(
                made, close, fail=no_fault, vocabularies=vocabularies(), clock=SteadyClock()
            )
    assert connect_reader("sqlite:ledger.db", ours).head() == 2

"""`tollkeeper ledger`: the state of the book and of the journal behind it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.cli import amounts, common
from proxy.journal.claims import is_locked
from proxy.journal.survey import Survey, survey
from proxy.ledger.queries import Status


class JournalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One writer's directory. A close is an ended exchange; all up to `booked_seq` are in the ledger."""

    writer: str
    in_use: bool                        # a running process holds it
    bytes: int
    segments: int
    finished_segments: int              # wholly booked, compressed, kept for a replay
    last_seq: int
    last_close_seq: int
    booked_seq: int
    open_exchanges: int                 # running, or left by a crash until the next start
    skipped_bytes: int                  # damage, or an entry being written at this moment


@click.group()
def ledger() -> None:
    """The ledger as a whole."""


@ledger.command()
@common.config_option
@common.data_dir_option
@common.json_option
def status(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the state of the ledger and of the journal behind it. Changes nothing; a process may be running or not.

    \b
    Example:
      tollkeeper ledger status
    """
    book = common.open_book(config_path, data_dir)
    state = common.ask(book.queries.status)
    journals = journal_status(book.data_dir / "journal", state.writers)
    if as_json:
        common.print_json({"ledger": state, "journal": journals})
        return
    common.print_fields(_ledger_rows(state, book.zone))
    for one in journals:
        click.echo(f"\nJournal {one.writer}")
        common.print_fields(_journal_rows(one))


def journal_status(root: Path, booked: dict[str, int]) -> list[JournalStatus]:
    """Every writer's directory under `root`, by name; none before the first start."""
    try:
        directories = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        return [_journal(directory, booked.get(directory.name, 0)) for directory in directories]
    except OSError as error:
        raise common.Failed(f"cannot read the journal in {root}: {error}") from error


def _journal(directory: Path, booked_seq: int) -> JournalStatus:
    try:
        found, size_bytes = _look(directory)
    except FileNotFoundError:
        # A running process put a finished segment away while it was read: the second look finds it under its new name.
        found, size_bytes = _look(directory)
    return JournalStatus(
        writer=directory.name,
        in_use=is_locked(directory),
        bytes=size_bytes,
        segments=len(found.segments),
        finished_segments=len(found.done),
        last_seq=found.last_seq,
        last_close_seq=max((segment.last_close_seq for segment in found.segments), default=0),
        booked_seq=booked_seq,
        open_exchanges=len(found.unresolved),
        skipped_bytes=found.skipped_bytes,
    )


def _look(directory: Path) -> tuple[Survey, int]:
    """What stands in the directory, and its bytes on the disk."""
    return survey(directory), sum(path.stat().st_size for path in directory.iterdir())


def _ledger_rows(state: Status, zone: ZoneInfo) -> list[tuple[str, str]]:
    booked = None if state.last_booked_at_ms is None else datetime.fromtimestamp(state.last_booked_at_ms // 1000, UTC).astimezone(zone).isoformat(sep=" ")
    return [
        ("ledger", state.path),
        ("size", amounts.size(state.bytes)),
        ("schema version", str(state.schema_version)),
        ("records", amounts.count(state.records)),
        ("of them adjustments", amounts.count(state.adjustments)),
        ("seq", f"{amounts.text(state.first_seq)} to {amounts.text(state.last_seq)}"),
        ("sealed up to seq", amounts.text(state.sealed_seq)),
        ("last booked", amounts.text(booked)),
        ("head", amounts.text(state.last_hash)),
    ]


def _journal_rows(one: JournalStatus) -> list[tuple[str, str]]:
    behind = "all booked" if one.last_close_seq <= one.booked_seq else f"booked up to entry {one.booked_seq} of {one.last_close_seq}"
    return [
        ("in use", "by a running process" if one.in_use else "no"),
        ("size", amounts.size(one.bytes)),
        ("segments", f"{one.segments} in use, {one.finished_segments} finished"),
        ("ended exchanges", behind),
        ("open exchanges", amounts.count(one.open_exchanges)),
        ("unreadable", amounts.size(one.skipped_bytes)),
    ]

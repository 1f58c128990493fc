"""The names of a month's files."""

from __future__ import annotations

from proxy.accounting.archiving.note import file_name, note_name


def test_a_file_and_its_note_stand_beside_each_other() -> None:
    assert (file_name("2026-01"), note_name("2026-01")) == (
        "ledger-2026-01.parquet",
        "ledger-2026-01.json",
    )

"""A month's file has its records, and a file that has not is refused."""

from __future__ import annotations

import csv
import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from proxy.accounting.archiving import job
from proxy.accounting.archiving.job import check_archive, due_months, order_of, write_month
from proxy.accounting.archiving.note import ArchiveNote
from proxy.ledger import LedgerError
from proxy.ledger.archives import DueMonth
from proxy.ledger.sqlite import connect_reader
from tests.accounting.archiving.years import ms_of, old_ledger

URL = "sqlite:ledger.db"
FORCED = ("unclosed",)


@pytest.fixture
def due(tmp_path: Path) -> list[DueMonth]:
    old_ledger(tmp_path)
    (tmp_path / "archive").mkdir()
    return due_months(URL, tmp_path, "2026-06", ms_of(11, 30), FORCED)


def write(tmp_path: Path, one: DueMonth) -> ArchiveNote:
    reader = connect_reader(URL, tmp_path)
    rows: list[int] = []
    note = write_month(reader, one, tmp_path / "archive", rows.append)
    assert sum(rows) == 2 * note.totals.records, "each is written and read back"
    return note


def test_the_months_that_are_due(tmp_path: Path, due: list[DueMonth]) -> None:
    assert [one.month.month for one in due] == ["2026-01", "2026-02", "2026-03"]
    assert [one.obstacles for one in due] == [[], [], []]
    [first] = due_months(URL, tmp_path, "2026-02", ms_of(11, 30))
    assert "no closed statement" in first.obstacles[0]


def test_a_file_and_its_note_say_what_the_month_was(tmp_path: Path, due: list[DueMonth]) -> None:
    note = write(tmp_path, due[1])
    directory = tmp_path / "archive"
    assert sorted(path.name for path in directory.iterdir()) == [
        "ledger-2026-02.json",
        "ledger-2026-02.parquet",
    ]
    assert (note.first_seq, note.last_seq, note.root) == (6, 10, due[1].month.root)
    assert note.totals.charges == {"USD": 5_500} and note.totals.records == 5
    assert json.loads((directory / "ledger-2026-02.json").read_text())["sha256"] == note.sha256
    table = pq.read_table(directory / "ledger-2026-02.parquet")
    assert table.column("seq").to_pylist() == [6, 7, 8, 9, 10]
    assert sum(table.column("charge_nano").to_pylist()) == 5_500
    assert check_archive(directory, "2026-02") == note
    again = write(tmp_path, due[1])
    assert again == note, "the same bytes, so that a job that was killed goes on"
    assert order_of(note, FORCED).forced == FORCED
    assert csv  # the export's columns


def test_another_file_in_its_place_is_not_replaced(tmp_path: Path, due: list[DueMonth]) -> None:
    path = tmp_path / "archive" / "ledger-2026-01.parquet"
    path.write_bytes(b"precious")
    with pytest.raises(LedgerError, match="is another file"):
        write(tmp_path, due[0])
    assert path.read_bytes() == b"precious" and len(list(path.parent.iterdir())) == 1


def test_other_records_than_those_sealed_are_not_archived(
    tmp_path: Path, due: list[DueMonth]
) -> None:
    month = msgspec.structs.replace(due[0].month, root="00" * 32)
    wrong = msgspec.structs.replace(due[0], month=month)
    reader = connect_reader(URL, tmp_path)
    with pytest.raises(LedgerError, match="not those sealed"):
        write_month(reader, wrong, tmp_path / "archive", lambda _: None)
    month = msgspec.structs.replace(due[0].month, checkpoint=due[1].month.checkpoint)
    wrong = msgspec.structs.replace(due[0], month=month)
    with pytest.raises(LedgerError, match="checkpoint says something else"):
        write_month(reader, wrong, tmp_path / "archive", lambda _: None)
    assert list((tmp_path / "archive").iterdir()) == []


def test_two_commands_at_once_never_write_into_one_file(
    tmp_path: Path, due: list[DueMonth]
) -> None:
    """The second began anew in the draft that the first had just checked: the file was half."""
    reader = connect_reader(URL, tmp_path)
    month, directory = due[0].month, tmp_path / "archive"
    began, over = threading.Event(), threading.Event()
    left = 2 * (month.last_seq - month.first_seq + 1)

    def second(rows: int) -> None:
        began.set()
        over.wait()

    def write_second() -> str:
        try:
            write_month(reader, due[0], directory, second)
        except LedgerError as error:
            return str(error)
        finally:
            began.set()
        return "written"

    with ThreadPoolExecutor(1) as pool:
        others: list[Future[str]] = []

        def first(rows: int) -> None:
            nonlocal left
            left -= rows
            if left == 0:  # all of it is read back
                others.append(pool.submit(write_second))
                began.wait()

        try:
            note = write_month(reader, due[0], directory, first)
            assert job._digest(directory / note.file) == (note.sha256, note.bytes)
        finally:
            over.set()
        assert "another command writes it now" in others[0].result()
    assert check_archive(directory, month.month) == note


@pytest.mark.parametrize("how", ["bit", "short", "rows", "note", "signature", "totals"])
def test_a_damaged_archive_is_found(tmp_path: Path, due: list[DueMonth], how: str) -> None:
    note = write(tmp_path, due[0])
    directory = tmp_path / "archive"
    file, beside = directory / note.file, directory / "ledger-2026-01.json"
    data = bytearray(file.read_bytes())
    told = json.loads(beside.read_text())
    if how == "bit":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif how == "short":
        file.write_bytes(data[:-10])
    elif how == "rows":
        table = pq.read_table(file)
        pq.write_table(table.slice(1), file)
        told |= {"sha256": job._digest(file)[0], "bytes": file.stat().st_size}
        beside.write_text(json.dumps(told))
    elif how == "note":
        beside.write_text("{}")
    elif how == "signature":
        told["checkpoint"] = due[1].month.checkpoint
        beside.write_text(json.dumps(told))
    else:
        told["totals"]["charges"]["USD"] = 1
        beside.write_text(json.dumps(told))
    with pytest.raises(LedgerError):
        check_archive(directory, "2026-01")


def test_what_was_written_wrongly_is_seen_when_it_is_read_back(
    tmp_path: Path, due: list[DueMonth], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that drops the last row of each page."""
    library = job._library

    class Dropping:
        def __init__(self, module: object) -> None:
            self._module = module

        def __getattr__(self, name: str) -> object:
            return getattr(self._module, name)

        def Parquet(self) -> object:
            made = self._module.Parquet()  # type: ignore[attr-defined]
            lines = made.lines
            made.lines = lambda rows: lines(rows[:-1])
            return made

    def dropping(module: str) -> object:
        found = library(module)
        return Dropping(found) if module.endswith("export.parquet") else found

    monkeypatch.setattr(job, "_library", dropping)
    with pytest.raises(LedgerError, match="other records than its note says"):
        write(tmp_path, due[0])
    assert list((tmp_path / "archive").iterdir()) == []


def test_a_missing_library_is_told(
    tmp_path: Path, due: list[DueMonth], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(name="pyarrow")

    monkeypatch.setattr(job.importlib, "import_module", missing)
    with pytest.raises(LedgerError, match=r"tollkeeper\[parquet\]"):
        write(tmp_path, due[0])

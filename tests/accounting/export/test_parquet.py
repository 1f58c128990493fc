"""Parquet read back by pyarrow is what the JSON lines say, whatever pages the rows came in."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.accounting.export import parquet
from proxy.accounting.export.parquet import Parquet
from proxy.accounting.export.records import COLUMNS, JsonLines
from proxy.core.records import canonical
from proxy.core.records.canonical import Value
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch
from proxy.ledger.reading import Stretch
from proxy.ledger.sqlite.reader import SqliteReader
from tests.ledger.samples import make_record, numbered, open_book, records
from tests.support.effort import examples

Rows = Sequence[Sequence[Value]]


def booked(path: Path, *these: UsageRecord) -> list[Sequence[Value]]:
    path.unlink(missing_ok=True)
    connection, book = open_book(path)
    book.book(Batch("w0", numbered(*these)))
    connection.close()
    pages = SqliteReader(path).pages(Stretch(through=len(these)))
    return [row for page in pages for row in page.rows]


def written(pages: Iterable[Rows]) -> bytes:
    form = Parquet()
    return b"".join((form.begin(), *(form.lines(rows) for rows in pages), form.end()))


def cut(rows: Rows, size: int) -> list[Rows]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of either format, with the same types in both."""
    for name in ("cost", "charge"):
        row[name] = None if row[name] is None else Decimal(row[name])
    for name in ("started_at", "booked_at"):
        when = row[name]
        row[name] = datetime.fromisoformat(when) if isinstance(when, str) else when
    for name in ("labels", "tags", "usage_raw"):
        row[name] = json.loads(row[name]) if isinstance(row[name], str) else row[name]
    return row


@settings(max_examples=examples(30), deadline=None)
@given(data=st.data())
def test_every_value_is_that_of_the_json_lines(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    drawn = [data.draw(records(n)) for n in range(data.draw(st.integers(1, 8)))]
    rows = booked(tmp_path_factory.getbasetemp() / "parquet.db", *drawn)
    got = pq.read_table(io.BytesIO(written([rows]))).to_pylist()
    said = JsonLines(ZoneInfo("Asia/Shanghai")).lines(rows).decode().split("\n")[:-1]
    assert [list(row) for row in got] == [list(COLUMNS)] * len(rows)
    assert [plain(row) for row in got] == [plain(json.loads(line)) for line in said]


def test_amounts_are_exact_to_the_last_nano(tmp_path: Path) -> None:
    most = 2**63 - 1
    [row] = booked(tmp_path / "ledger.db", make_record(0, currency="USD"))
    place = canonical.COLUMNS.index("cost_nano")
    rows = [(*row[:place], cost, *row[place + 1 :]) for cost in (most, 1, -1)]
    table = pq.read_table(io.BytesIO(written([rows])))
    assert table["cost"].to_pylist() == [
        Decimal("9223372036.854775807"),
        Decimal("0.000000001"),
        Decimal("-0.000000001"),
    ]
    assert table["cost_nano"].to_pylist() == [most, 1, -1]


@pytest.mark.parametrize("count", [0, 1, 6, 7, 14, 20])
def test_the_bytes_are_the_same_whatever_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 7)
    rows = (
        booked(
            tmp_path / "ledger.db",
            *(make_record(n, model_served=None if n < 3 else "m") for n in range(count)),
        )
        if count
        else []
    )
    whole = written([rows])
    for size in (1, 3, 7, 8):
        assert written(cut(rows, size)) == whole
    assert written([*cut(rows, 4), []]) == whole
    file = pq.ParquetFile(io.BytesIO(whole))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [len(group) for group in cut(rows, 7)]


def test_many_rows_are_the_same_bytes_too(tmp_path: Path) -> None:
    """Within a group the file has pages of its own, which must not end where the rows came in."""
    [row] = booked(tmp_path / "ledger.db", make_record(0))
    place = canonical.COLUMNS.index("hash")
    rows = [(*row[:place], n.to_bytes(32), *row[place + 1 :]) for n in range(21_000)]
    assert len({written(cut(rows, size)) for size in (1_000, 1_700, 21_000)}) == 1


def test_no_more_than_a_group_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 4)
    rows = booked(tmp_path / "ledger.db", *map(make_record, range(10)))
    form = Parquet()
    form.begin()
    sizes = [len(form.lines([row])) for row in rows]
    assert [n for n, size in enumerate(sizes) if size] == [3, 7]
    assert form.begin() == b"", "what was handed on is not kept"

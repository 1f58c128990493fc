"""Rows come back from a file as they were booked."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxy.accounting.archiving.parquet_file import rows_about, rows_of
from proxy.accounting.export.parquet import Parquet
from proxy.core.records.canonical import chained_rows
from proxy.ledger import LedgerError
from tests.ledger.samples import START_MS, make_id, make_record

SOME = [
    make_record(1, labels={'we"ird': "é\u2028"}, end_user=None, stream=True, inconsistent=True),
    make_record(2, kind="adjustment", adjusts=make_id(1), reason="rerated", usage_raw=None),
    make_record(3, first_byte_ms=None, output_tokens=None, cost_nano=2**56, currency="USD"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    writer = Parquet()
    rows, _ = chained_rows(SOME, 0, bytes(32), START_MS)
    path = tmp_path / "x.parquet"
    path.write_bytes(writer.begin() + writer.lines(rows) + writer.end())
    return path


def test_each_value_comes_back(file: Path) -> None:
    rows, _ = chained_rows(SOME, 0, bytes(32), START_MS)
    assert [list(row) for row in rows_of(file)] == rows


def test_a_record_is_found_with_its_adjustments(file: Path) -> None:
    assert [row[0] for row in rows_about(file, make_id(1))] == [make_id(1), make_id(2)]
    assert rows_about(file, "nobody") == []


def test_other_files_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text").write_text("no parquet")
    for name in ("other.parquet", "text", "missing"):
        with pytest.raises(LedgerError):
            list(rows_of(tmp_path / name))
        with pytest.raises(LedgerError):
            rows_about(tmp_path / name, "x")

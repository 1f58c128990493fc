"""Reads the rows of an archive back from its file. It needs the extra `parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from proxy.accounting.export.parquet import SCHEMA
from proxy.core.records.canonical import COLUMNS, Value
from proxy.ledger import LedgerError

BATCH_ROWS: Final = 4096
_FLAGS: Final = tuple(COLUMNS.index(name) for name in ("stream", "inconsistent"))
_HASHES: Final = tuple(COLUMNS.index(name) for name in ("prev_hash", "hash"))
_ID: Final = COLUMNS.index("id")


def rows_of(path: Path) -> Iterator[Sequence[Value]]:
    """Each row as canonical values, in the order of `canonical.COLUMNS`.

    Raises LedgerError for a file that is no export of records.
    """
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.names != SCHEMA.names:
                raise LedgerError(f"{path} has other columns than an archive")
            for part in file.iter_batches(BATCH_ROWS, columns=list(COLUMNS)):
                yield from _canonical(part)
    except (pa.ArrowException, OSError) as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error


def rows_about(path: Path, id: str) -> list[Sequence[Value]]:
    """The record of this id and what adjusts it, in the order of the book. Raises LedgerError."""
    try:
        table = pq.read_table(
            path, columns=list(COLUMNS), filters=[[("id", "=", id)], [("adjusts", "=", id)]]
        )
    except (pa.ArrowException, OSError) as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error
    return sorted(_canonical(table), key=lambda row: str(row[_ID]) != id)


def _canonical(part: Any) -> Iterator[Sequence[Value]]:
    columns = [part.column(name).to_pylist() for name in COLUMNS]
    for values in zip(*columns, strict=True):
        row = list(values)
        for place in _FLAGS:
            row[place] = int(row[place])
        for place in _HASHES:
            row[place] = bytes.fromhex(row[place])
        yield row

"""Ledger records as Parquet, with the columns of the csv and exact decimals.

It needs the extra `parquet`. Rows are written in groups of a fixed size, wherever pages end, so
that the same stretch is the same bytes, and no more than a group is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from proxy.accounting.export.records import COLUMNS
from proxy.core.money import NANO_DIGITS
from proxy.core.records import canonical
from proxy.core.records.canonical import MEASURES, Value

GROUP_ROWS: Final = 32_768
_AMOUNTS: Final = {"cost": "cost_nano", "charge": "charge_nano"}
_TIMES: Final = {"started_at": "started_at_ms", "booked_at": "booked_at_ms"}
_FLAGS: Final = ("stream", "inconsistent")
_HASHES: Final = ("prev_hash", "hash")
_COUNTS: Final = frozenset(
    "seq started_at_ms booked_at_ms duration_ms first_byte_ms status client_retry_count bytes_in "
    "bytes_out chunks hash_version".split()
) | frozenset(MEASURES)
_DECIMAL: Final = pa.decimal128(28, NANO_DIGITS)
_TIME: Final = pa.timestamp("ms", tz="UTC")


def _type(name: str) -> pa.DataType:
    if name in _AMOUNTS:
        return _DECIMAL
    if name in _TIMES:
        return _TIME
    if name in _FLAGS:
        return pa.bool_()
    return pa.int64() if name in _COUNTS else pa.string()


SCHEMA: Final = pa.schema([(name, _type(name)) for name in COLUMNS])


class _Sink:
    """A file that hands on what is written to it."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        self._bytes += len(data)
        return len(data)

    def tell(self) -> int:
        return self._bytes

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """What was written stays to be taken."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._written)
        self._written.clear()
        return data


class Parquet:
    """One file; labels, tags and the vendor's usage are JSON as text."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"), SCHEMA, compression="zstd", version="2.6"
        )
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def begin(self) -> bytes:
        """What stands before the first row."""
        return self._sink.taken()

    def lines(self, rows: Sequence[Sequence[Value]]) -> bytes:
        """Whole groups, as they fill."""
        if rows:
            self._waiting.append(_batch(rows))
            self._rows += len(rows)
        while self._rows >= GROUP_ROWS:
            self._write(GROUP_ROWS)
        return self._sink.taken()

    def end(self) -> bytes:
        """The last group, and the table of contents."""
        if self._rows:
            self._write(self._rows)
        self._writer.close()
        return self._sink.taken()

    def _write(self, rows: int) -> None:
        table = pa.Table.from_batches(self._waiting, SCHEMA)
        self._writer.write_table(table.slice(0, rows).combine_chunks(), row_group_size=rows)
        rest = table.slice(rows)
        self._waiting = rest.to_batches()
        self._rows = rest.num_rows


def _batch(rows: Sequence[Sequence[Value]]) -> pa.RecordBatch:
    by_name = dict(zip(canonical.COLUMNS, zip(*rows, strict=True), strict=True))
    columns = []
    for name in COLUMNS:
        values: Sequence[object]
        if name in _AMOUNTS:
            values = [_units(value) for value in by_name[_AMOUNTS[name]]]
        elif name in _TIMES:
            values = list(by_name[_TIMES[name]])
        elif name in _FLAGS:
            values = [bool(value) for value in by_name[name]]
        elif name in _HASHES:
            values = [value.hex() if isinstance(value, bytes) else None for value in by_name[name]]
        else:
            values = list(by_name[name])
        columns.append(pa.array(values, SCHEMA.field(name).type))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _units(nano: Value) -> Decimal | None:
    return Decimal(nano).scaleb(-NANO_DIGITS) if isinstance(nano, int) else None

"""The audit as a chain of its own: hashed and sealed row by row, as the records are."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from proxy.core.managed import Audit
from proxy.core.records.canonical import GENESIS, Value, chained, key_name, seal

# The columns of a row: `seq`, those of `Audit`, then what the chain adds.
DEED_COLUMNS = Audit.__struct_fields__
COLUMNS: tuple[str, ...] = ("seq", *DEED_COLUMNS, "prev_hash", "hash", "key_name", "seal")


def next_rows(
    entries: Sequence[Audit], last: tuple[int, bytes] | None, key: bytes
) -> Iterator[tuple[Value, ...]]:
    """The rows of these entries behind the last row's seq and hash; None: there is none yet."""
    seq, prev_hash = (0, GENESIS) if last is None else last
    for entry in entries:
        seq += 1
        values = msgspec.structs.astuple(entry)
        row_hash = chained(prev_hash, (seq, *values))
        sealed = seal(key, seq, entry.at_ms, row_hash)
        yield (seq, *values, prev_hash, row_hash, key_name(key), sealed)
        prev_hash = row_hash


def problems(rows: Iterable[Sequence[Value | bytes]], key: bytes | None) -> Iterator[str]:
    """What is wrong with the chain: rows missing, changed or not sealed with this key.

    Without a key no seal is checked.
    """
    expected, prev_hash = 1, GENESIS
    for row in rows:
        yield from _faults(row, expected, prev_hash, key)
        seq, row_hash = row[0], row[-3]
        assert isinstance(seq, int), "seq is the table's integer key"
        expected, prev_hash = seq + 1, row_hash if isinstance(row_hash, bytes) else GENESIS


def _faults(
    row: Sequence[Value | bytes], expected: int, prev_hash: bytes, key: bytes | None
) -> Iterator[str]:
    seq, values = row[0], row[1:-4]
    follows, row_hash, made_with, sealed = row[-4:]
    assert isinstance(seq, int), "seq is the table's integer key"
    where = f"audit entry {seq}"
    if seq != expected:
        yield f"{where}: follows entry {expected - 1}; entries between are missing"
    if follows != prev_hash:
        yield f"{where}: does not follow the entry before it"
    texts = [value for value in values if not isinstance(value, bytes)]
    if len(texts) < len(values) or chained(prev_hash, (seq, *texts)) != row_hash:
        yield f"{where}: changed since it was written"
    elif key is not None and made_with == key_name(key):
        assert isinstance(values[0], int) and isinstance(row_hash, bytes), "the hash is right"
        made = seal(key, seq, values[0], row_hash)
        if not isinstance(sealed, bytes) or not hmac.compare_digest(made, sealed):
            yield f"{where}: its seal was not made with this key"

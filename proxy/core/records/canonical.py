"""The record as the ledger stores and hashes it: column order, canonical bytes, chain and seal.

A `hash_version` is fixed for ever: rows of version 1 keep it, new rows have version 2, which added
`cache_write_long_tokens` and `searches`.

A row's canonical bytes are the JSON array of its hashed columns, in the order of `HASHED_V1` or
`HASHED_V2`:

- UTF-8, without whitespace; only those characters are escaped that JSON forces to be.
  `json.dumps(values, ensure_ascii=False, separators=(",", ":"))` gives the same bytes.
- Booleans are 0 and 1, an unknown value is null.
- labels, tags and usage_raw are strings that hold JSON with sorted keys.

    hash = SHA-256(prev_hash + canonical bytes)
    seal = HMAC-SHA256(key, "tollkeeper head 1\\n" + seq + "\\n" + booked_at_ms + "\\n" + hash)

The first row's prev_hash is 32 zero bytes. The last row of each batch is sealed; seq and
booked_at_ms stand in the seal as decimal digits.

The seal's key is not in the database. A person who can write to the file but does not have the key
can forge a chain, but not its seal.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from operator import attrgetter

import msgspec

from proxy.core.usage import UsageRecord

HASH_VERSION = 2
GENESIS = bytes(32)

# The columns in the order in which they are hashed. The booking transaction assigns seq and
# booked_at_ms; the rest is the record's own. Laid out by subject, so that the two lists can be
# compared.
# fmt: off
HASHED_V1: tuple[str, ...] = (
    "id", "seq", "writer", "origin", "kind", "adjusts", "reason",
    "started_at_ms", "booked_at_ms", "duration_ms", "first_byte_ms",
    "key_id", "team", "labels", "end_user", "tags",
    "endpoint", "dialect", "upstream", "upstream_account",
    "model_requested", "model_served", "stream",
    "status", "outcome", "finish_reason", "upstream_request_id", "client_retry_count",
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens",
    "input_source", "output_source", "source", "inconsistent",
    "usage_raw",
    "service_tier", "bytes_in", "bytes_out", "chunks",
    "cost_nano", "charge_nano", "currency", "price_version", "price_model", "price_currency",
    "cost_original_nano", "fx_rate", "upstream_cost_nano",
    "hash_version",
)
# fmt: on
# The columns of version 2, each behind the column named with it.
_ADDED_V2 = {
    "cache_write_tokens": "cache_write_long_tokens",
    "audio_output_tokens": "searches",
}
HASHED_V2: tuple[str, ...] = tuple(
    name
    for column in HASHED_V1
    for name in ((column, _ADDED_V2[column]) if column in _ADDED_V2 else (column,))
)
COLUMNS: tuple[str, ...] = (*HASHED_V2, "prev_hash", "hash")
HASHED_BY_VERSION: Mapping[int, tuple[str, ...]] = {1: HASHED_V1, 2: HASHED_V2}

MONEY: tuple[str, ...] = ("cost_nano", "charge_nano", "cost_original_nano", "upstream_cost_nano")
# Numbers that are summed. A batch of 64 of them must fit 63 bits, so that no sum inside one
# transaction can overflow.
MEASURES: tuple[str, ...] = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "searches",
    *MONEY,
)
COUNTED: tuple[str, ...] = ("bytes_in", "bytes_out", "chunks")  # summed by corrections alone
MEASURE_MAX = 2**56

Value = str | int | bytes | None

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_measures = attrgetter(*MEASURES)


def row_values(record: UsageRecord, seq: int, booked_at_ms: int) -> list[Value]:
    """The hashed columns of one record, in the order of `HASHED_V2`."""
    r = record
    # In rows by subject, as above. What an enum stands for is taken without `value`, which is a
    # call.
    # fmt: off
    return [
        r.id, seq, r.writer, r.origin, r.kind, r.adjusts, r.reason,
        r.started_at_ms, booked_at_ms, r.duration_ms, r.first_byte_ms,
        r.key_id, r.team, _json(r.labels), r.end_user, _json(r.tags),
        r.endpoint, r.dialect, r.upstream, r.upstream_account,
        r.model_requested, r.model_served, 1 if r.stream else 0,
        r.status, r.outcome._value_, r.finish_reason, r.upstream_request_id, r.client_retry_count,
        r.input_tokens, r.cached_tokens, r.cache_write_tokens, r.cache_write_long_tokens,
        r.output_tokens, r.reasoning_tokens, r.audio_input_tokens, r.audio_output_tokens,
        r.searches,
        r.input_source._value_, r.output_source._value_, r.source._value_,
        1 if r.inconsistent else 0,
        None if r.usage_raw is None else _json(r.usage_raw),
        r.service_tier, r.bytes_in, r.bytes_out, r.chunks,
        r.cost_nano, r.charge_nano, r.currency, r.price_version, r.price_model, r.price_currency,
        r.cost_original_nano, r.fx_rate, r.upstream_cost_nano,
        HASH_VERSION,
    ]
    # fmt: on


def record_from(row: Mapping[str, Value]) -> UsageRecord:
    """The record inside a stored row: the inverse of `row_values`.

    Raises msgspec.ValidationError on a row that is not one.
    """
    fields: dict[str, object] = {name: row[name] for name in UsageRecord.__struct_fields__}
    for name in ("labels", "tags", "usage_raw"):
        text = row[name]
        fields[name] = msgspec.json.decode(text) if isinstance(text, str) else text
    fields["stream"] = row["stream"] == 1
    fields["inconsistent"] = row["inconsistent"] == 1
    return msgspec.convert(fields, UsageRecord)


def fitted(record: UsageRecord) -> UsageRecord:
    """Makes each count or amount unknown that no column can hold, and flags the record.

    So it is loud, and no batch fails to be booked because of it.
    """
    known = [0, *filter(None, _measures(record))]
    if max(known) <= MEASURE_MAX and min(known) >= -MEASURE_MAX:
        return record
    unknown = {name: None for name in MEASURES if _too_large(getattr(record, name))}
    return msgspec.structs.replace(record, inconsistent=True, **unknown)


def canonical(values: Sequence[Value]) -> bytes:
    """The canonical bytes of a row's hashed values."""
    return _encode(values)


def chained(prev_hash: bytes, values: Sequence[Value]) -> bytes:
    """The hash of a row that follows the row with `prev_hash`."""
    return hashlib.sha256(prev_hash + _encode(values)).digest()


def chained_rows(
    records: Sequence[UsageRecord], seq: int, prev_hash: bytes, booked_at_ms: int
) -> tuple[list[list[Value]], bytes]:
    """The rows of these records behind the one of `seq` and `prev_hash`, and the last one's hash.

    A row is the hashed columns, the hash of the row before, and its own.
    """
    rows: list[list[Value]] = []
    for place, record in enumerate(records, seq + 1):
        values = row_values(record, place, booked_at_ms)
        row_hash = chained(prev_hash, values)
        values += (prev_hash, row_hash)
        rows.append(values)
        prev_hash = row_hash
    return rows, prev_hash


def seal(key: bytes, seq: int, at_ms: int, row_hash: bytes) -> bytes:
    """The keyed proof that the chain up to `seq` ended in `row_hash` at that time."""
    return hmac.digest(key, b"tollkeeper head 1\n%d\n%d\n" % (seq, at_ms) + row_hash, "sha256")


def key_name(key: bytes) -> str:
    """The name of a seal's key: 16 hex digits that do not give the key away."""
    return hashlib.sha256(b"tollkeeper key name\n" + key).hexdigest()[:16]


def _too_large(value: int | None) -> bool:
    return value is not None and not -MEASURE_MAX <= value <= MEASURE_MAX


def _json(value: Mapping[str, object]) -> str:
    return _encode_sorted(value).decode() if value else "{}"

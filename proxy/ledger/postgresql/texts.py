"""Makes what is booked something that PostgreSQL has room for.

Its texts hold no NUL and nothing that is not UTF-8, and its integers have 63 bits. A record that
cannot be stored would hold up all that come behind it. So such signs become U+FFFD before the row
is hashed, and such numbers a bound, with the record flagged.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final, TypeVar

import msgspec

from proxy.core.records.canonical import MEASURE_MAX, fitted
from proxy.core.usage import UsageRecord

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

_TEXTS: Final = (
    "id",
    "writer",
    "origin",
    "kind",
    "adjusts",
    "reason",
    "key_id",
    "team",
    "end_user",
    "endpoint",
    "dialect",
    "upstream",
    "upstream_account",
    "model_requested",
    "model_served",
    "finish_reason",
    "upstream_request_id",
    "service_tier",
    "currency",
    "price_version",
    "price_model",
    "price_currency",
    "fx_rate",
)
# Numbers beside the measures, which `fitted` bounds.
_NUMBERS: Final = (
    "started_at_ms",
    "duration_ms",
    "first_byte_ms",
    "status",
    "client_retry_count",
    "bytes_in",
    "bytes_out",
    "chunks",
)
_texts = attrgetter(*_TEXTS)
_numbers = attrgetter(*_NUMBERS)


def clean(text: str) -> str:
    """The text without what PostgreSQL refuses."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cleaned(struct: _Struct) -> _Struct:
    """The same with each of its own texts clean."""
    texts = {
        name: clean(value)
        for name in struct.__struct_fields__
        if isinstance(value := getattr(struct, name), str)
    }
    return msgspec.structs.replace(struct, **texts)


def storable(record: UsageRecord) -> UsageRecord:
    """The record as the ledger can hold it; mostly it is the same."""
    record = fitted(record)
    if _has_odd_text(record):
        record = msgspec.structs.replace(
            record,
            **{
                name: clean(value)
                for name, value in zip(_TEXTS, _texts(record), strict=True)
                if value is not None
            },
            labels=_clean_map(record.labels),
            tags=_clean_map(record.tags),
        )
    numbers = [0, *filter(None, _numbers(record))]
    if max(numbers) > MEASURE_MAX or min(numbers) < -MEASURE_MAX:
        bounded = {
            name: max(-MEASURE_MAX, min(MEASURE_MAX, value))
            for name, value in zip(_NUMBERS, _numbers(record), strict=True)
            if value is not None
        }
        record = msgspec.structs.replace(record, inconsistent=True, **bounded)
    return record


def _has_odd_text(record: UsageRecord) -> bool:
    maps = [*record.labels, *record.labels.values(), *record.tags, *record.tags.values()]
    text = "".join([*filter(None, _texts(record)), *maps])
    return "\0" in text or (not text.isascii() and _has_surrogates(text))


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _clean_map(texts: dict[str, str]) -> dict[str, str]:
    return {clean(name): clean(value) for name, value in texts.items()}

"""The payload of a frame: one entry as JSON.

Encoding an ending never fails and is bounded, because an ended exchange must reach the disk.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from proxy.core.entries import Marked, Opened, Voided
from proxy.core.usage import UsageRecord
from proxy.journal.frames import PAYLOAD_BYTES_MAX

# A record repeats its opening and adds ~1.3 kB of names and numbers, some names stated by the
# upstream, and the vendor's usage object.
ANSWER_BYTES_MAX: Final = 4096
OPEN_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - ANSWER_BYTES_MAX
_NAME_CHARS_MAX: Final = 64
_STATED_BY_UPSTREAM: Final = (
    "model_served",
    "finish_reason",
    "upstream_request_id",
    "service_tier",
)
_SURROGATES = re.compile("[\ud800-\udfff]")

_encode = msgspec.json.Encoder().encode
decode_open = msgspec.json.Decoder(Opened).decode
decode_mark = msgspec.json.Decoder(Marked).decode
decode_close = msgspec.json.Decoder(UsageRecord).decode


class _OnlyId(msgspec.Struct, gc=False):
    id: str


_decode_id = msgspec.json.Decoder(_OnlyId).decode


def id_of(payload: bytes) -> str:
    """The exchange of an entry, without decoding the rest. Raises msgspec.DecodeError."""
    return _decode_id(payload).id


def encode_entry(entry: Opened | Marked | Voided) -> bytes:
    """An entry as JSON.

    Broken UTF-8 in a name becomes U+FFFD, so that no byte of it keeps an exchange out of the
    journal.
    """
    try:
        return _encode(entry)
    except UnicodeEncodeError:
        return _encode(_mended(msgspec.to_builtins(entry)))


def encode_close(record: UsageRecord, bytes_max: int) -> tuple[bytes, UsageRecord]:
    """A record as JSON of at most `bytes_max`, and the record that is read from it.

    `bytes_max` is the opening's size + ANSWER_BYTES_MAX, so the opening's own fields always fit.
    Fields that no charge depends on give way: first the vendor's raw usage, then the ends of names
    that the upstream stated.
    """
    encoded = _try_encode(record)
    if encoded is not None and len(encoded[0]) <= bytes_max:
        return encoded
    record = msgspec.structs.replace(record, usage_raw=None)
    encoded = _try_encode(record)
    if encoded is not None and len(encoded[0]) <= bytes_max:
        return encoded
    names = {name: _clipped(getattr(record, name)) for name in _STATED_BY_UPSTREAM}
    encoded = _try_encode(msgspec.structs.replace(record, **names))
    assert encoded is not None and len(encoded[0]) <= PAYLOAD_BYTES_MAX, (
        "a record grew far beyond what its opening announced"
    )
    return encoded


def _try_encode(record: UsageRecord) -> tuple[bytes, UsageRecord] | None:
    try:
        return _encode(record), record
    except UnicodeEncodeError:
        payload = _encode(_mended(msgspec.to_builtins(record)))
        return payload, decode_close(payload)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None  # only usage_raw has a shape of its own


def _mended(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_mended(name): _mended(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_mended(part) for part in value]
    return value


def _clipped(name: str | None) -> str | None:
    return name if name is None else name[:_NAME_CHARS_MAX]

"""What a hold says of its request: all that a record needs if its process does not come back."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.entries import Opened
from proxy.core.limits.decisions import Demand

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[object]).decode
_NAMES: Final = tuple(name for name in Opened.__struct_fields__ if name != "id")
_INPUT: Final = _NAMES.index("input_estimate")
OUTPUT_MAX: Final = 2**53  # what the script's doubles hold exactly
_LEAST: Final = _INPUT + 1  # what stands behind it is mostly not known


def told(ask: Demand) -> str:
    """The request as it is stored, its input the most that the hold is for; empty: not known.

    It is the values of its opening in their order, without the id, and as JSON: the script's reader
    of msgpack takes no bytes.
    """
    opened = ask.opened
    if opened is None:
        return ""
    values = [getattr(opened, name) for name in _NAMES]
    values[_INPUT] = ask.input_tokens if ask.input_bound is None else ask.input_bound
    while values[-1] is None and len(values) > _LEAST:
        values.pop()
    try:
        return _encode(values).decode()
    except UnicodeEncodeError:
        return ""  # a lone surrogate, which no client means


def output_of(ask: Demand) -> int:
    """The output tokens that the hold is for: the most, where a limit is strict."""
    return min(ask.output_tokens if ask.output_bound is None else ask.output_bound, OUTPUT_MAX)


def read(attempt: str, stored: bytes) -> Opened | None:
    """The opening of a request; None: it was not stored, or cannot be read.

    A newer version may have stored more values behind those that are known here.
    """
    if not stored:
        return None
    try:
        known = dict(zip(_NAMES, _decode(stored), strict=False))
        return msgspec.convert(known | {"id": attempt.removesuffix("+")}, Opened)
    except msgspec.MsgspecError:
        return None

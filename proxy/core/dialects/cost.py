"""Reads what a vendor says that the answer cost, exactly.

OpenRouter states `"cost": 0.00014` in its usage, in credits; a credit is a US dollar.

Where the caller's own key at the vendor behind it paid (`is_byok`), `cost` is OpenRouter's fee
alone, mostly 0, and `cost_details.upstream_inference_cost` what the vendor bills: both together are
the cost, and without the second it is not known. In other answers that detail states the same money
once more.

The number is read from its text as a decimal. A float on the way would make 0.1 into
0.1000000000000000055…, and a sum of a month's would not come out.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS

# Not negative: nobody pays for an answer to be taken.
_NUMBER = re.compile(rb"[0-9]{1,32}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?")
# Nine million dollars: beyond it JSON readers disagree, and so would an export.
_COST_NANO_MAX = 2**53
_NANO_DIGITS = 9


class _Details(msgspec.Struct, gc=False):
    upstream_inference_cost: msgspec.Raw = msgspec.Raw()


class _Stated(msgspec.Struct, gc=False):
    cost: msgspec.Raw = msgspec.Raw()
    is_byok: msgspec.Raw = msgspec.Raw()
    cost_details: msgspec.Raw = msgspec.Raw()


_details_decoder = msgspec.json.Decoder(_Details)
_stated_decoder = msgspec.json.Decoder(_Stated)


def stated_cost_nano(usage: msgspec.Raw) -> int | None:
    """The cost in this usage object in nano-units, rounded half up once.

    None if none is stated as a plain number within bounds.

    A cost split into parts, or one in quotes, states none here: its sum and its unit are anyone's
    guess.
    """
    if bytes(usage).find(b'"cost"') < 0:
        return None
    try:
        stated = _stated_decoder.decode(usage)
    except JSON_ERRORS:
        return None
    cost = _number(stated.cost)
    behind = _inference_cost(stated.cost_details)
    if bytes(stated.is_byok) == b"true" or (cost == 0 and behind):
        return None if cost is None or not behind else _nano(cost, behind)
    return None if cost is None else _nano(cost)


def _inference_cost(details: msgspec.Raw) -> Decimal | None:
    """What the vendor behind bills, if that is stated."""
    try:
        return _number(_details_decoder.decode(details).upstream_inference_cost)
    except JSON_ERRORS:
        return None


def _number(text: msgspec.Raw) -> Decimal | None:
    number = bytes(text)
    return None if _NUMBER.fullmatch(number) is None else Decimal(number.decode())


def _nano(*amounts: Decimal) -> int | None:
    """Their sum in nano-units.

    It takes integers alone: decimal arithmetic would round to the 28 digits of its context first.
    """
    parts = [amount.as_tuple() for amount in amounts]
    # The numbers have digits only.
    exponents = [part.exponent for part in parts if isinstance(part.exponent, int)]
    least = min(exponents)
    whole = sum(
        int("".join(map(str, part.digits))) * 10 ** (exponent - least)
        for part, exponent in zip(parts, exponents, strict=True)
    )
    # Three digits of exponent and 64 of fraction at most, so the powers here are small.
    places = least + _NANO_DIGITS
    nano = whole * 10**places if places >= 0 else (2 * whole + 10**-places) // (2 * 10**-places)
    return nano if nano <= _COST_NANO_MAX else None

"""What a vendor says that the answer cost, kept exactly: OpenRouter states `"cost": 0.00014` in its usage, in credits, and a credit is a US dollar.

The number is read from its text as a decimal. A float on the way would make 0.1 into 0.1000000000000000055…, and a sum of a month's would not come out.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

_NUMBER = re.compile(rb"[0-9]{1,32}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?")     # not negative: nobody pays for an answer to be taken
_COST_NANO_MAX = 2**53      # nine million dollars: beyond it JSON readers disagree, and so would an export
_NANO_DIGITS = 9


class _Stated(msgspec.Struct, gc=False):
    cost: msgspec.Raw = msgspec.Raw()


_stated_decoder = msgspec.json.Decoder(_Stated)


def stated_cost_nano(usage: msgspec.Raw) -> int | None:
    """The `cost` in this usage object in nano-units, rounded half up once; None if none is stated as a plain number within bounds.

    A cost split into parts, or one in quotes, states none here: its sum and its unit are anyone's guess.
    """
    if bytes(usage).find(b'"cost"') < 0:
        return None
    try:
        number = bytes(_stated_decoder.decode(usage).cost)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if _NUMBER.fullmatch(number) is None else _nano(Decimal(number.decode()))


def _nano(amount: Decimal) -> int | None:
    """In integers throughout: decimal arithmetic would round to its context's 28 digits first."""
    _, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int), "the number has digits only"
    places = exponent + _NANO_DIGITS        # three digits of exponent and 64 of fraction at most, so the powers below are small
    whole = int("".join(map(str, digits)))
    nano = whole * 10**places if places >= 0 else (2 * whole + 10**-places) // (2 * 10**-places)
    return nano if nano <= _COST_NANO_MAX else None

"""What is charged of an exchange, and what the charge class of its path makes of that.

Only a path that is passed through has such a class. All else is decided in `settlement.py`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.records.ending import Ending, How
from proxy.core.usage import LATER, UNMETERED, ChargeClass, Source, Usage

ANSWERED_OK: Final = range(200, 300)


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What is charged, and the usage that its details come from (`stated`), if there is one."""

    input_tokens: int
    output_tokens: int
    input_source: Source
    output_source: Source
    stated: Usage | None = None


NOTHING: Final = Charge(0, 0, Source.NONE, Source.NONE)
NO_TOKENS: Final = Charge(0, 0, Source.NONE, Source.NONE)  # by the path's charge class
UNKNOWN: Final = Charge(0, 0, Source.NONE, Source.NONE)  # they were to be stated and were not


def by_class(charge_class: ChargeClass, ending: Ending) -> Charge:
    """What is charged on a path that is passed through. Its text is not counted, so nothing is
    estimated; a zero counts nothing, as servers send it that have no count."""
    if charge_class is ChargeClass.LATER:
        return UNKNOWN
    if charge_class is not ChargeClass.METERED:
        return NO_TOKENS
    usage = ending.usage
    if usage is not None and usage.states_use:
        output_tokens = 0 if usage.output_tokens is None else usage.output_tokens
        input_tokens = usage.input_tokens
        if input_tokens is None:
            total = output_tokens if usage.total_tokens is None else usage.total_tokens
            input_tokens = max(0, total - output_tokens)
        return Charge(input_tokens, output_tokens, Source.REPORTED, Source.REPORTED, usage)
    rejected = ending.status is not None and ending.status not in ANSWERED_OK
    return NOTHING if rejected or ending.how is How.NO_HEAD else UNKNOWN


def reason_of(charge: Charge, charge_class: ChargeClass) -> str | None:
    """Why a record has no tokens; None where it has those that were stated."""
    if charge is UNKNOWN:
        return LATER if charge_class is ChargeClass.LATER else UNMETERED
    return None if charge_class is ChargeClass.METERED else str(charge_class)

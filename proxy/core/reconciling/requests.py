"""Compares one request: the records and the lines that share a vendor's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.core.reconciling.causes import Cause, Variant, cause, same_amount
from proxy.core.reconciling.result import BillVerdict, Tallies
from proxy.core.reconciling.sums import BilledSums, OwnSums

Others = Callable[[], Mapping[Variant, int]]


def compare_request(
    tallies: Tallies,
    own: OwnSums,
    billed: BilledSums,
    unit_nano: int,
    others: Others,
    *,
    own_inside: bool = True,
    billed_inside: bool = True,
) -> None:
    """Adds what the two sides of a request come to.

    Either may have nothing. `…_inside`: it lies in the period; what lies in it on one side alone is
    a matter of where the vendor's day begins.
    """
    here, there = own.requests > 0, billed.lines > 0
    if not (here and own_inside) and not (there and billed_inside):
        return
    if here and there and not (own_inside and billed_inside):
        part = (own.cost_nano, 0) if own_inside else (0, billed.amount_nano or 0)
        tallies.differ(BillVerdict.DIFFERING, Cause.DAY_BOUNDARY, own, billed, part=part)
    elif not here:
        if billed.amount_nano != 0 or billed.input_tokens or billed.output_tokens:
            tallies.differ(BillVerdict.MISSING_HERE, None, None, billed)
    elif not there:
        if own.cost_nano or own.unpriced > own.failed:
            tallies.differ(BillVerdict.MISSING_THERE, None, own, None)
    elif same_amount(own, billed):
        tallies.match(own, billed)
    else:
        found = cause(own, billed, unit_nano, others())
        tallies.differ(BillVerdict.DIFFERING, found, own, billed)

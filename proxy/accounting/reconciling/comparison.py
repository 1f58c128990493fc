"""What is asked of a comparison, and what it came to."""

from __future__ import annotations

import msgspec

from proxy.core.reconciling.lines import Level
from proxy.core.reconciling.rates import StatedRates
from proxy.core.reconciling.result import BillConverted, BilledDifference, BillTally


class ReconcileAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What to hold against the bill: requests to these upstreams that started in [from_ms, to_ms).

    An end that is None is the bill's. `level` None: the finest. `rates` bring the bill into their
    currency, which `currency` is then.
    """

    upstreams: tuple[str, ...]
    from_ms: int | None = None
    to_ms: int | None = None
    currency: str | None = None
    level: Level | None = None
    rates: StatedRates | None = None


class Reconciled(msgspec.Struct, kw_only=True):
    """What it came to. Amounts are in nano-units of `currency`, times in milliseconds.

    The bill is `matched` + `missing_here` + `differing` on its side; the ledger is `matched` +
    `missing_there` + `differing` on its own. `other` are lines that no request makes. `left_out`
    has reasons with how many rows and what amount. `columns`: which one gave each
    field. `names`: models that the bill writes otherwise.
    `models_unknown`: the bill has none of the ledger's, so that all models are compared together.
    `by_hand`: entries for these upstreams in the period; they are in none of the sums.
    `day_begins_ms`: how much later than in `zone` the vendor's day seems to begin. `converted`: the
    bill's lines in currencies that have a stated rate. `booked_nano`: what the compared requests
    cost in `booked_currency`, the ledger's, where that is another one; None where it is not.
    """

    shape: str
    columns: dict[str, str]
    level: Level
    currency: str
    zone: str
    from_ms: int
    to_ms: int
    upstreams: tuple[str, ...]
    ledger_nano: int
    billed_nano: int
    matched: BillTally
    missing_here: BillTally
    missing_there: BillTally
    differing: dict[str, BillTally]
    gross_nano: int
    other: dict[str, BillTally]
    left_out: dict[str, BillTally]
    by_hand: BillTally
    names: dict[str, str]
    day_begins_ms: int | None
    ids_unknown: bool
    has_money: bool
    models_unknown: bool
    difference_count: int
    differences: list[BilledDifference]
    converted: dict[str, BillConverted] = {}
    booked_currency: str | None = None
    booked_nano: int | None = None

"""Sums by tariff: what a database works out for work that prices each request of a long stretch.

A tariff has two prices for the same requests, each as a sum of products: one by which they were
booked, and another one. The database finds the tariff of each record, and sums what the other one
comes to beyond the first, each record rounded by itself. So no row leaves the database but those
that no tariff is for.

The text of the query is the same for each database: only how they compare names that may be null,
and keep an inner query from being worked out twice, differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from proxy.core.pricing.linear import COUNTS, NANO_MAX, Linear
from proxy.core.pricing.tariff import Bounds, Names
from proxy.core.records.canonical import Value

REST_MAX: Final = 256  # rows of a page that no tariff is for: half a megabyte in memory

# The names that a tariff and a record have in common.
NAMES: Final = ("price_version", "currency", *Names.__struct_fields__)
_PRICE: Final = (
    "base",
    *(f"rate_{name}" for name in COUNTS),
    "divisor",
    "times",
    "less",
    "charge_base",
    "charge_of",
)
# The columns of a tariff behind its names, all of them integers.
NUMBERS: Final = (
    *("to_ms", "from_ms", "above", "upto", "output_max", "searches_max", "with_fees", "moves"),
    *(f"{side}_{name}" for name in _PRICE for side in ("own", "would")),
)

_USUAL: Final = COUNTS[:4]  # nearly every answer states them
_MORE: Final = COUNTS[4:]
_PLAIN: Final = (
    "coalesce(r.cache_write_tokens, r.audio_input_tokens, r.audio_output_tokens, r.searches) "
    "IS NULL"
)


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """The requests of these names and bounds that were booked in this currency, or without a price.

    `own` and `would` are what they cost by two price books; `moves` is whether the difference is
    to be summed. `output_max` bounds the output. `with_fees`: only for answers with a 2xx status.
    """

    price_version: str | None
    currency: str | None
    names: Names
    bounds: Bounds
    own: Linear
    would: Linear
    moves: bool

    def texts(self) -> tuple[str | None, ...]:
        """What NAMES stands for."""
        return (
            self.price_version,
            self.currency,
            *(getattr(self.names, name) for name in Names.__struct_fields__),
        )

    def numbers(self) -> tuple[int | None, ...]:
        """What NUMBERS stands for."""
        own, would, bounds = self.own, self.would, self.bounds
        return (
            bounds.to_ms,
            bounds.from_ms,
            bounds.above,
            min(bounds.upto, own.tokens_max, would.tokens_max),
            min(own.output_max, would.output_max),
            min(own.searches_max, would.searches_max),
            int(own.with_fees or would.with_fees),
            int(self.moves),
            *(number for pair in zip(_price(own), _price(would), strict=True) for number in pair),
        )

    def takes(self, at_ms: int, input_tokens: int) -> bool:
        """Whether a request of that time and size is within the bounds."""
        bounds, upto = self.bounds, min(self.own.tokens_max, self.would.tokens_max)
        return bounds.from_ms <= at_ms < bounds.to_ms and bounds.above < input_tokens <= min(
            bounds.upto, upto
        )


class TariffSum(msgspec.Struct, frozen=True, gc=False):
    """The requests of one tariff in a page, in nano-units.

    `place` is that of the tariff. Cost and charge are as booked, None without a price. `cost_moved`
    and `charge_moved` are what the other price comes to beyond the own one.
    """

    place: int
    requests: int
    cost_nano: int | None
    charge_nano: int | None
    cost_moved: int
    charge_moved: int


class TariffPage(msgspec.Struct, frozen=True):
    """The requests up to `upto_seq`: sums of those with a tariff, and the rows of the others.

    `corrections` are the rows that correct these, however late booked. A request with a correction
    is among the others. The page's adjustments are nowhere.
    """

    upto_seq: int
    sums: Sequence[TariffSum]
    rows: Sequence[tuple[Value, ...]]
    corrections: Sequence[tuple[Value, ...]]


Summed = Sequence[tuple[Any, ...]]
Rows = Sequence[tuple[Value, ...]]


def paged(
    after: int,
    through: int,
    seqs_max: int,
    sums: Callable[[int, int], Summed],
    rows: Callable[[Sequence[int]], tuple[Rows, Rows]],
) -> Iterator[TariffPage]:
    """The pages of (after, through].

    `sums` answers `query` for a part of it, `rows` gives rows by their seqs, with corrections. A
    page grows up to `seqs_max` while few rows have no tariff, and it ends where REST_MAX have none:
    by then the caller may have made a tariff for them.
    """
    width = min(REST_MAX, seqs_max)
    while after < through:
        upto = min(through, after + width)
        found = sums(after, upto)
        others = _others(found)
        while len(others) > REST_MAX:
            upto = others[REST_MAX - 1]
            found = sums(after, upto)
            others = _others(found)
            width = max(REST_MAX, 2 * (upto - after))
        width = min(seqs_max, 2 * width)
        yield TariffPage(upto, [_sum(row) for row in found if row[0] >= 0], *rows(others))
        after = upto


def _sum(row: Sequence[Any]) -> TariffSum:
    """A sum as a database gives it, some of them as decimals."""
    place, requests, cost, charge, cost_moved, charge_moved = row
    return TariffSum(
        place,
        requests,
        None if cost is None else int(cost),
        None if charge is None else int(charge),
        int(cost_moved or 0),
        int(charge_moved or 0),
    )


def _others(found: Summed) -> list[int]:
    return sorted(-row[0] for row in found if row[0] < 0)


def query(rows: str, tariffs: str, names: str, where: str, barrier: str, uncorrected: str) -> str:
    """A query for sums by tariff, and for the seqs of the other requests.

    It answers (place of the tariff, requests, cost, charge, cost moved, charge moved). The place of
    a request without a tariff is its seq below zero.

    rows · a table of records with `seq`, called `r`    where · a condition for them
    tariffs · a table of NAMES, NUMBERS and `place`, called `t`    names · they have the same names
    barrier · words behind an inner query, so that it is worked out once for each row
    uncorrected · a condition that a record has no correction
    """
    joined = (
        f"SELECT coalesce(t.place, -r.seq) AS place, r.cost_nano, r.charge_nano, "
        f"CASE WHEN t.moves = 1 THEN {_value('own')} END AS own, "
        f"CASE WHEN t.moves = 1 THEN {_value('would')} END AS would, "
        + ", ".join(f"t.{side}_{name}" for side in ("own", "would") for name in _PRICE[-5:])
        + f" FROM {rows} AS r LEFT JOIN {tariffs} AS t ON {names} AND {_TAKEN} AND {uncorrected} "
        f"WHERE r.kind = 'usage' AND {where} {barrier}"
    )
    amounts = (
        "SELECT place, cost_nano, charge_nano, "
        "would / would_divisor - own / own_divisor AS cost_moved, "
        f"{_charge('would')} - {_charge('own')} AS charge_moved FROM ({joined}) AS one {barrier}"
    )
    return (
        "SELECT place, count(*), sum(cost_nano), sum(charge_nano), sum(cost_moved), "
        f"sum(charge_moved) FROM ({amounts}) AS each GROUP BY place"
    )


def _price(price: Linear) -> tuple[int | None, ...]:
    markup = price.markup
    more = (None,) * 4 if markup is None else msgspec.structs.astuple(markup)
    return price.base, *price.rates, price.divisor, *more


def _value(side: str) -> str:
    """What an amount is before it is divided."""
    usual = (
        f"r.input_tokens * t.{side}_rate_input_tokens",
        f"r.output_tokens * t.{side}_rate_output_tokens",
        *(f"coalesce(r.{name}, 0) * t.{side}_rate_{name}" for name in _USUAL[2:]),
    )
    more = (f"coalesce(r.{name}, 0) * t.{side}_rate_{name}" for name in _MORE)
    return (
        f"t.{side}_base + {' + '.join(usual)} "
        f"+ CASE WHEN {_PLAIN} THEN 0 ELSE {' + '.join(more)} END"
    )


def _charge(side: str) -> str:
    return (
        f"CASE WHEN {side}_times IS NULL THEN {side} / {side}_divisor ELSE "
        f"({side} / {side}_divisor * {side}_times - {side}_less + "
        f"({side} % {side}_divisor * {side}_times + {side}_charge_base) / {side}_divisor) "
        f"/ {side}_charge_of END"
    )


def _known(name: str) -> str:
    return f"coalesce(r.{name}, 0)"


# The counts of a record fit each other: no part is larger than the rest of its whole, and nothing
# is below zero. Others are cut down when they are priced.
_FITTING: Final = (
    f"CASE WHEN {_PLAIN} THEN {_known('cached_tokens')} BETWEEN 0 AND r.input_tokens "
    f"AND {_known('reasoning_tokens')} BETWEEN 0 AND r.output_tokens ELSE "
    f"({' | '.join(map(_known, COUNTS[2:]))}) >= 0 "
    f"AND {_known('cached_tokens')} + {_known('cache_write_tokens')} + "
    f"{_known('audio_input_tokens')} <= r.input_tokens "
    f"AND {_known('reasoning_tokens')} + {_known('audio_output_tokens')} <= r.output_tokens "
    f"AND {_known('cache_write_long_tokens')} <= {_known('cache_write_tokens')} "
    f"AND {_known('searches')} <= t.searches_max END"
)
# A tariff takes a record with its names: within its bounds, and so booked that the sums of a page
# cannot overflow.
_TAKEN: Final = (
    "t.to_ms > r.started_at_ms AND t.from_ms <= r.started_at_ms "
    "AND r.input_tokens > t.above AND r.input_tokens <= t.upto "
    "AND r.output_tokens BETWEEN 0 AND t.output_max AND r.reason IS NULL "
    "AND CASE WHEN t.currency IS NULL THEN coalesce(r.cost_nano, r.charge_nano) IS NULL "
    f"ELSE (r.cost_nano | r.charge_nano) BETWEEN 0 AND {NANO_MAX - 1} END "
    "AND (t.with_fees = 0 OR (r.status BETWEEN 200 AND 299 AND r.source <> 'none')) "
    f"AND {_FITTING}"
)

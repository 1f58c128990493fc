"""Which models each upstream has served for the names that were asked for.

A vendor may answer a cheap name from a dear model: an alias, a fallback, a router. A strict limit
on money goes by the dearest that was ever served, so that only the first such answers go beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from proxy.core.model_names import caseless
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.pricelist import PriceRow, is_literal
from proxy.core.usage import UsageRecord

# Clients may make names up, where a route and a price are for `*`. Beyond so many, a name that
# only a glob prices goes by what all names of the glob were served.
NAMES_MAX: Final = 65_536

Served = tuple[str, str, str]  # upstream, model asked for, model that answered
_Alike = dict[tuple[PriceRow, ...], str]  # one model of all that the same rows price


class ServedModels:
    """The models seen so far, for one price book: it keeps what that book tells apart.

    Lives on the event loop.
    """

    def __init__(self, prices: PriceBook, seen: Iterable[Served] = ()) -> None:
        self._prices = prices
        self._seen: dict[Served, None] = {}
        self._by_name: dict[tuple[str, str], _Alike] = {}
        self._by_glob: dict[tuple[str, str], _Alike] = {}
        self.learn_all(seen)

    def of(self, upstream: str, requested: str) -> tuple[str, ...]:
        """Models that have answered for this name, and can be priced otherwise than it is.

        A name that was never asked for goes by the others that the same glob prices. So a new name
        for each request brings no new surprise.
        """
        found = self._by_name.get((upstream, caseless(requested)))
        if found is None and self._by_glob:
            glob = _glob(self._prices.rows_for(upstream, requested, None))
            found = None if glob is None else self._by_glob.get((upstream, glob))
        return () if found is None else tuple(found.values())

    def learn(self, record: UsageRecord) -> None:
        """Learns from a record that was settled."""
        requested, served = record.model_requested, record.model_served
        if requested is not None and served is not None:
            one = (record.upstream, requested, served)
            if one not in self._seen:
                self._learn(one)

    def learn_all(self, seen: Iterable[Served]) -> None:
        for one in seen:
            self._learn(one)

    @property
    def seen(self) -> tuple[Served, ...]:
        """All that was learned and is kept, for the next price book."""
        return tuple(self._seen)

    def _learn(self, one: Served) -> None:
        if one in self._seen:
            return
        if len(self._seen) >= NAMES_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[one] = None
        upstream, requested, served = one
        name = (upstream, caseless(requested))
        if served == requested and len(self._by_name) < NAMES_MAX:
            self._by_name.setdefault(name, {})
            return
        usual = self._prices.rows_for(upstream, requested, None)
        rows = self._prices.rows_for(upstream, requested, served)
        glob = _glob(usual)
        groups = []
        written_out = bool(usual) and glob is None
        if written_out or name in self._by_name or len(self._by_name) < NAMES_MAX:
            groups.append(self._by_name.setdefault(name, {}))
        if rows == usual or not usual:
            return  # it costs the same, or has no price, without which money limits nothing
        if glob is not None:
            groups.append(self._by_glob.setdefault((upstream, glob), {}))
        for group in groups:
            group.setdefault(rows, served)


def _glob(rows: tuple[PriceRow, ...]) -> str | None:
    """The glob of the best row for a model, if no row writes it out."""
    return None if not rows or is_literal(rows[0].model) else rows[0].model

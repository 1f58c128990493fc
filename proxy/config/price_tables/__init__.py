"""Public price tables as price rows: what a table says, read from its own format. One module a
format, `bundled` for the one that ships with the package.

A table lists prices in US dollars. What it says beyond what an answer lets us tell apart is left
out, and left out loudly: such a model gets a row without
rates, so that its amounts are unknown rather than taken from a wider glob.
"""

from __future__ import annotations

import msgspec

from proxy.core.pricing.pricelist import PriceRow

CURRENCY = "USD"


class TableError(Exception):
    """A table that cannot be read; the message says which, why, and what to do."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a table by provider, models as the table writes them; `fallbacks` are the
    providers whose models a provider offers too, in that order.

    `date` is the latest day that the table speaks of as past; `url` is where it comes from.
    """

    name: str
    version: str
    date: str
    url: str
    licence: str = ""
    providers: dict[str, tuple[PriceRow, ...]]
    fallbacks: dict[str, tuple[str, ...]] = {}

    @property
    def source(self) -> str:
        """As rows and records name it."""
        return f"{self.name} {self.version}".strip()

    def rows(self, provider: str, upstream: str | None) -> list[PriceRow]:
        """What an upstream that is this provider bills by: its own rows before those of its
        fallbacks, all behind the operator's."""
        found = []
        for rank, name in enumerate((provider, *self.fallbacks.get(provider, ())), start=1):
            # Public tables take names in any case, which rows in lower case behind the operator's
            # do.
            rows = self.providers.get(name, ())
            found += [
                msgspec.structs.replace(
                    row, model=row.model.lower(), rank=rank, upstream=upstream, source=self.source
                )
                for row in rows
            ]
        return found

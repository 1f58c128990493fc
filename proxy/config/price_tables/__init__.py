"""Public price tables as price rows, read from each table's own format.

One module reads one format; `bundled` has the table that ships with the package.

A table lists prices in US dollars. Some of its prices depend on what no answer tells. Such a model
gets a row without rates, so that its amounts are unknown rather than taken from a wider glob.
"""

from __future__ import annotations

import msgspec

from proxy.core.pricing.pricelist import PriceRow

CURRENCY = "USD"


class TableError(Exception):
    """A table that cannot be read; the message says which, why, and what to do."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a table by provider, with the models as the table writes them.

    - `fallbacks`: the providers whose models a provider offers too, in that order
    - `date`: the latest day that the table speaks of as past
    - `url`: where the table comes from
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
        """The rows that an upstream of this provider bills by.

        The provider's own stand before those of its fallbacks, and all behind the operator's.
        """
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

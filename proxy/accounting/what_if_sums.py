"""The sums of a scenario: of one team, model and currency, of parts of a book, and of all."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

_COUNTS = ("requests", "unpriced", "would_be_unpriced", "one_sided")
_AMOUNTS = ("cost_nano", "charge_nano", "would_cost_nano", "would_charge_nano")


class WhatIfSum(msgspec.Struct):
    """One team, model and currency: as booked, and under the scenario, in nano-units.

    An amount is None while none is known. `unpriced` requests have no known amount as booked,
    `would_be_unpriced` have none under the scenario. `one_sided` requests have one of both only, so
    that the two amounts are of other requests.
    """

    team: str | None
    model: str | None
    currency: str | None
    requests: int = 0
    cost_nano: int | None = None
    charge_nano: int | None = None
    would_cost_nano: int | None = None
    would_charge_nano: int | None = None
    unpriced: int = 0
    would_be_unpriced: int = 0
    one_sided: int = 0

    @property
    def difference_nano(self) -> int | None:
        """What it would cost beyond what it does; None where that is not of the same requests."""
        if self.cost_nano is None or self.would_cost_nano is None or self.one_sided:
            return None
        return self.would_cost_nano - self.cost_nano

    @property
    def key(self) -> SumKey:
        """What it is the sum of."""
        return self.team, self.model, self.currency

    def add(self, other: WhatIfSum) -> None:
        """Adds the requests of another sum."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _AMOUNTS:
            amounts = (getattr(self, name), getattr(other, name))
            known = [nano for nano in amounts if nano is not None]
            setattr(self, name, sum(known) if known else None)


SumKey = tuple[str | None, str | None, str | None]


def together(parts: Iterable[Iterable[WhatIfSum]]) -> list[WhatIfSum]:
    """The sums of all parts, by team, model and currency; a missing name first."""
    found: dict[SumKey, WhatIfSum] = {}
    for part in parts:
        for each in part:
            found.setdefault(each.key, WhatIfSum(*each.key)).add(each)
    return [
        found[key]
        for key in sorted(found, key=lambda key: [(name is not None, name or "") for name in key])
    ]


def totals(sums: Iterable[WhatIfSum]) -> list[WhatIfSum]:
    """One sum for each currency, sorted by it."""
    return together([msgspec.structs.replace(each, team=None, model=None)] for each in sums)

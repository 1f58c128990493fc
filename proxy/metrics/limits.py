"""The metrics of limits: their states, their warnings, and breaches of strict ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.core.limits.dimensions import OTHERS as OTHER_VALUES
from proxy.core.limits.language import Unit
from proxy.core.limits.limit import PPM, Enforce, Limit, Scope, scope_name
from proxy.core.limits.state import LimitState
from proxy.metrics.families import Families

OTHER = "other"


class LimitMetrics:
    """The states and counts of at most `series_max` limits.

    Counts of further limits are kept under `other`, and `dropped` says how many there are.
    """

    def __init__(self, series_max: int) -> None:
        self._series_max = series_max
        self._states: Sequence[LimitState] = ()
        self._values: Mapping[str, int] = {}  # how many a limit counts apart, by its rule
        self._shared: frozenset[str] = frozenset()  # the rules with too many of them
        self._crossings: dict[tuple[str, ...], int] = {}
        self._breaches: dict[tuple[str, ...], int] = {}
        self.dropped = 0

    def show(self, states: Sequence[LimitState]) -> None:
        """Take the states of the limits for the next page.

        Of a limit that counts values apart, that of its fullest value: no value is ever a label.
        """
        fullest: dict[str, LimitState] = {}
        values: dict[str, int] = {}
        shared: set[str] = set()
        for state in states:
            limit = state.limit
            known = fullest.get(limit.rule_id)
            if known is None or state.remaining < known.remaining:
                fullest[limit.rule_id] = state
            if limit.value is not None:
                values[limit.rule_id] = values.get(limit.rule_id, 0) + 1
                if limit.value == OTHER_VALUES:
                    shared.add(limit.rule_id)
        found = tuple(fullest.values())
        self._states, self._values = found[: self._series_max], values
        self._shared = frozenset(shared)
        self.dropped += len(found) - len(self._states)

    def crossing(self, limit: Limit, share_ppm: int) -> None:
        """Count a limit used up to a share at which to warn."""
        self._count(self._crossings, (limit.scope, limit.scope_id, limit.id, _share(share_ppm)), 1)

    def breach(self, limit: Limit, count: int) -> None:
        """Count requests that used more of a strict limit than their bound."""
        self._count(self._breaches, (limit.scope, limit.scope_id, limit.id), count)

    def collect(self, families: Families) -> None:
        """Add the samples; runs in the scrape's thread.

        Counts begin with a sample of zero: Prometheus sees no increase in a series that begins with
        1.
        """
        crossings: dict[tuple[str, ...], int] = {}
        breaches: dict[tuple[str, ...], int] = {}
        for state in self._states:
            limit = state.limit
            whose = (limit.scope, limit.scope_id, limit.id)
            crossings.update(((*whose, _share(share_ppm)), 0) for share_ppm in limit.told_at_ppm)
            if limit.enforce is Enforce.STRICT:
                breaches[whose] = 0
            labels = (
                *whose,
                limit.currency if limit.currency is not None else limit.unit,
                limit.per,
            )
            add = families.nano if limit.unit is Unit.MONEY else families.add
            add("limit_amount", labels, state.amount + state.granted)
            add("limit_used", labels, state.used)
            add("limit_held", labels, state.held)
            if limit.dimension is not None:
                families.add("limit_values", whose, self._values.get(limit.rule_id, 0))
                families.add("limit_values_shared", whose, limit.rule_id in self._shared)
            if state.resets_at_ms is not None:
                families.add("limit_reset_timestamp_seconds", labels, state.resets_at_ms / 1000)
        families.counts("limit_crossings_total", crossings | self._crossings.copy())
        families.counts("strict_breaches_total", breaches | self._breaches.copy())

    def _count(
        self, table: dict[tuple[str, ...], int], labels: tuple[str, ...], count: int
    ) -> None:
        if labels not in table and len(table) >= self._series_max:
            self.dropped += 1
            labels = (labels[0], OTHER, OTHER, *labels[3:])
        table[labels] = table.get(labels, 0) + count


def limit_label(
    limit_id: str | None, known: tuple[str | None, str | None], shown: tuple[str, ...]
) -> str:
    """The limit that refused a request, as a label; empty where none did.

    `known` are the caller's team and key, `shown` their labels. Where one is not shown its name is
    left out of the id too: clients make up keys under `auth: forward`.
    """
    if limit_id is None:
        return ""
    for scope, name, label in zip((Scope.TEAM, Scope.KEY), known, shown, strict=True):
        if name is not None and name != label:
            own = f"{scope_name(scope, name)}/"
            if limit_id.startswith(own):
                return f"{scope}/{limit_id.removeprefix(own)}"
    return limit_id


def _share(share_ppm: int) -> str:
    """0.8 of 800,000 millionths."""
    whole, rest = divmod(share_ppm, PPM)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")

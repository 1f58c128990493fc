"""What of a scenario changed nothing: a mistyped name looks like terms that cost the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

import msgspec

from proxy.accounting.what_if_sums import WhatIfSum
from proxy.cli.unknown import unknown_names
from proxy.config.fields import NAMES_ALIKE
from proxy.core.model_names import caseless, matches_caseless
from proxy.core.pricing.book import PriceBook
from proxy.core.pricing.scenario import Scenario
from proxy.core.spelling import nearest
from proxy.ledger.reading import Reader


def notes(
    reader: Reader,
    zone: ZoneInfo,
    scenario: Scenario,
    sums: Sequence[WhatIfSum],
    upstreams: Sequence[str],
    teams: Sequence[str],
) -> list[str]:
    """A sentence for each name that no record and no price row has."""
    found = []
    for kind, names in (("upstream", upstreams), ("team", teams)):
        for name in names:
            if name:
                found += unknown_names(reader, zone, {kind: name})
    if sums:
        found += _models(reader, scenario, sums)
    if scenario.tier:
        found += _tier(reader, scenario)
    return found


def _models(reader: Reader, scenario: Scenario, sums: Sequence[WhatIfSum]) -> Iterator[str]:
    """Of the globs of `--model` that no request is for."""
    if not scenario.models:
        return
    asked = {each.model for each in sums if each.model is not None}
    known = asked | {
        served for _, requested, served in reader.served_models() if requested in asked
    }
    for old, _ in scenario.models:
        if not any(matches_caseless(old, name) for name in known):
            yield f"no request was for {old!r}, nor answered by it.{_hint(old, known)}"


def _tier(reader: Reader, scenario: Scenario) -> Iterator[str]:
    """Of a tier that is in no price row, so that the usual prices hold."""
    rows = scenario.rows
    if rows is None:
        terms = reader.price_terms_at(2**53)
        try:
            rows = () if terms is None else PriceBook.from_terms(terms).rows
        except msgspec.MsgspecError:
            return  # of another version of this program
    tiers = {row.service_tier for row in rows if row.service_tier is not None}
    tier = scenario.tier or ""
    if caseless(tier) not in map(caseless, tiers):
        yield (
            f"no price row is for the tier {tier!r}, so the usual prices hold.{_hint(tier, tiers)}"
        )


def _hint(name: str, known: set[str]) -> str:
    close = nearest(name, known, NAMES_ALIKE)
    return "" if close is None else f" The nearest is {close!r}."

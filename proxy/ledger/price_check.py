"""Holds what records name of prices and models against what the book has beside them.

A price version is the beginning of the digest of its terms, and a record names the version that its
amount was made with: without the terms nobody can work it out again. Strict limits on money go by
the dearest model that an upstream has served: the book has each model that a record names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Final, TypeAlias

import msgspec

from proxy.core.records.chain import FINDINGS_MAX, Flaw
from proxy.ledger.verification import VerifyStep

PART: Final = "prices"
STEP_ROWS: Final = 65_536  # records that one step looks at: some 50 ms
TERMS: Final = "SELECT version, terms FROM price_versions"
MODELS: Final = "SELECT upstream, model_requested, model_served FROM served_models"

Model: TypeAlias = tuple[str, str, str]  # the upstream, the model asked for, and which answered
# A price version, a model, and the seq and id of the first record that names both.
Named: TypeAlias = tuple[str | None, str, str | None, str | None, int | None, str]


class PricesPlace(msgspec.Struct, frozen=True):
    """Where the check stands among the records.

    after · the last record that was looked at, as the database orders them
    told · what was found to be missing by then
    """

    after: int | str
    told: list[str]


class Beside(msgspec.Struct, frozen=True):
    """What the book has beside the records."""

    versions: Collection[str]
    models: Collection[Model]


def read_place(place: str | None, first: int | str) -> PricesPlace:
    """The place that a step begins at; `first` comes before all records."""
    return PricesPlace(first, []) if place is None else msgspec.json.decode(place, type=PricesPlace)


def changed_terms(rows: Iterable[tuple[object, object]]) -> list[Flaw]:
    """What is wrong with the terms, given as (version, terms)."""
    return [
        Flaw(PART, f"price version {version!r}: its terms were changed")
        for version, terms in rows
        if not (isinstance(version, str) and isinstance(terms, bytes) and _names(version, terms))
    ]


def records_step(
    at: PricesPlace, beside: Beside, named: Iterable[Named], upto: int | str | None
) -> VerifyStep:
    """Hold what records name against what is beside them; each finding is told once.

    `upto` is the last record that was looked at; None: there was none left.
    """
    told = list(at.told)
    found = []
    for version, *model, seq, id in named:
        for flaw in (_terms(beside, version), _model(beside, model)):
            if flaw is not None and flaw not in told:
                told.append(flaw)
                found.append(Flaw(PART, f"{flaw}; the first record is {id!r}", seq, id))
    following = None if upto is None else PricesPlace(upto, told[:FINDINGS_MAX])
    return VerifyStep(
        found=len(found),
        findings=found[:FINDINGS_MAX],
        next=None if following is None else msgspec.json.encode(following).decode(),
    )


def with_terms(step: VerifyStep, terms: Iterable[tuple[object, object]]) -> VerifyStep:
    """The first step, with what is wrong with the terms themselves."""
    rows = list(terms)
    found = changed_terms(rows)
    return msgspec.structs.replace(
        step,
        rows=len(rows),
        found=len(found) + step.found,
        findings=[*found, *step.findings][:FINDINGS_MAX],
    )


def _terms(beside: Beside, version: str | None) -> str | None:
    if version is None or version in beside.versions:
        return None
    return (
        f"price version {version!r}: its terms are missing, and records are priced by it: a backup "
        "has them, and a start with the prices of then books them again"
    )


def _model(beside: Beside, model: Iterable[object]) -> str | None:
    upstream, requested, served = model
    if requested is None or served is None or (upstream, requested, served) in beside.models:
        return None
    return (
        f"{upstream!r} served {served!r} for {requested!r}, and strict limits do not know it: "
        "`tollkeeper ledger rebuild --yes` puts it back"
    )


def _names(version: str, terms: bytes) -> bool:
    return version != "" and hashlib.sha256(terms).hexdigest().startswith(version)

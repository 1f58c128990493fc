"""Explains a record of the book and its adjustments: where each amount comes from, in words.

`record show` and the pages in the browser both tell it so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

import msgspec

from proxy.core.money import decimal
from proxy.core.pricing import explanation
from proxy.core.pricing.book import PriceBook
from proxy.core.records.corrections import LATE_CLOSE
from proxy.core.records.repricing import standing
from proxy.core.usage import FREE, UsageRecord
from proxy.ledger.reading import BookReader, Entry

_NO_AMOUNT = "–"


class Explained(msgspec.Struct, frozen=True):
    """A row of the book, and how its amounts came about.

    `standing` is the record as of this row, with all corrections up to it. `how` works its amounts
    out again; None without a price version, its terms or a row of them.
    """

    entry: Entry
    standing: UsageRecord
    before: UsageRecord | None
    terms_known: bool
    how: explanation.Explanation | None


class InWords(msgspec.Struct, frozen=True):
    """A sentence, and the steps to the amounts as pairs of a name and a text; there may be none."""

    sentence: str
    steps: list[tuple[str, str]]


def explained(found: Entry, reader: BookReader) -> Iterator[Explained]:
    """The record, then each adjustment. A late close is worked out without the reratings.

    Raises LedgerError and LedgerUnavailable.
    """
    adjustments = reader.adjustments(found.record.id)
    yield _explained(found, found.record, None, None, reader)
    images = None
    if (terms := _terms(found.record, reader)) is not None:
        images = PriceBook.from_terms(terms).images_of(found.record)
    for n, entry in enumerate(adjustments):
        earlier = [one.record for one in adjustments[:n]]
        late = entry.record.reason == LATE_CLOSE
        told = [record for record in earlier if record.reason == LATE_CLOSE or not late]
        before, now = standing(found.record, told), standing(found.record, [*told, entry.record])
        if entry.record.cost_original_nano is None:
            now = msgspec.structs.replace(now, cost_original_nano=None)
        yield _explained(entry, now, before, images, reader)


def in_words(told: Explained, zone: tzinfo, *, costs: bool = True) -> InWords | None:
    """How the amounts came about; for an adjustment also the amounts before it.

    None where no prices were asked. Without `costs` it tells the charge and its rates alone.
    """
    version, how = told.entry.record.price_version, told.how
    if version is None:
        return None
    if not told.terms_known:
        return InWords(
            f"The ledger does not hold the prices of version {version} that its amounts were made "
            "with.",
            [],
        )
    if told.entry.record.reason == FREE:
        return InWords("Its path is free in the config: no price applies to it.", [])
    if how is None:
        return InWords(
            f"No row of the prices of version {version} applied to it, so that its amounts are "
            "not known.",
            [],
        )
    what = (
        "How its amounts came about"
        if told.before is None
        else "What the record came to from then on"
    )
    steps = explanation.lines(how, zone) if costs else explanation.charge_lines(how)
    if told.before is not None:
        steps += _differences(told.before, told.entry.record, costs=costs)
    return InWords(f"{what}, by the prices of version {version}", steps)


def _explained(
    entry: Entry,
    now: UsageRecord,
    before: UsageRecord | None,
    images: int | None,
    reader: BookReader,
) -> Explained:
    terms = _terms(entry.record, reader)
    how = None if terms is None else explanation.explain(now, PriceBook.from_terms(terms), images)
    return Explained(entry, now, before, terms is not None, how)


def _terms(record: UsageRecord, reader: BookReader) -> bytes | None:
    return None if record.price_version is None else reader.price_terms(record.price_version)


def _differences(
    before: UsageRecord, adjustment: UsageRecord, *, costs: bool
) -> Sequence[tuple[str, str]]:
    names = ("cost", "charge") if costs else ("charge",)
    found = []
    for name in names:
        was, change = getattr(before, f"{name}_nano"), getattr(adjustment, f"{name}_nano")
        was_shown = "not known" if was is None else decimal(was, grouped=True)
        change_shown = _NO_AMOUNT if change is None else decimal(change, grouped=True)
        found.append((f"{name} before", f"{was_shown}, so that the adjustment is {change_shown}"))
    return found

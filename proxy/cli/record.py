"""`tollkeeper record show ID`: every number of one record, and its adjustments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from proxy.cli import common, formats, price_explanation
from proxy.core.pricing.book import PriceBook
from proxy.core.records.canonical import COLUMNS
from proxy.core.records.corrections import LATE_CLOSE
from proxy.core.records.repricing import standing
from proxy.core.usage import FREE, UsageRecord
from proxy.ledger.reading import BookReader, Entry


@click.group()
def record() -> None:
    """Single ledger records."""


@record.command()
@common.config_option
@common.data_dir_option
@common.json_option
@click.argument("id")
def show(config_path: Path | None, data_dir: Path | None, as_json: bool, id: str) -> None:
    """Show one record, how its amounts came about, and its adjustments.

    ID is the `x-tollkeeper-id` of the answer.

    \b
    Example:
      tollkeeper record show 01939c1e-8f5b-7c6a-9d2e-3f4a5b6c7d8e
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(lambda: book.reader.record(id))
    if found is None:
        raise common.Failed(
            f"The ledger has no record {id}. A request is booked within moments of its end. One "
            "that the proxy refused never is: `tollkeeper limit refusals` counts those, and the "
            "log has a line for each."
        )
    adjustments = common.ask(lambda: book.reader.adjustments(id))
    told = common.ask(lambda: list(_told(found, adjustments, book.reader)))
    if as_json:
        first, *others = (flat(one.entry) | {"explanation": one.how} for one in told)
        common.print_json(first | {"adjustments": others})
        return
    for one in told:
        _print(one.entry, book.zone)
        _print_how(one, book.zone)


def flat(entry: Entry) -> dict[str, object]:
    """A booked record as one mapping, in the order of the ledger's columns."""
    added: dict[str, object] = msgspec.to_builtins(entry)
    own: dict[str, object] = msgspec.to_builtins(entry.record)
    fields = own | added
    return {name: fields[name] for name in COLUMNS}


class _Shown(msgspec.Struct, frozen=True):
    """A row of the book, and how its amounts came about.

    `standing` is the record as of this row, with all corrections up to it. `how` works its amounts
    out again; None without a price version, its terms or a row of them.
    """

    entry: Entry
    standing: UsageRecord
    before: UsageRecord | None
    terms_known: bool
    how: price_explanation.Explanation | None


def _told(found: Entry, adjustments: Sequence[Entry], reader: BookReader) -> Iterator[_Shown]:
    """The record, then each adjustment. A late close is worked out without the reratings."""
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


def _explained(
    entry: Entry,
    now: UsageRecord,
    before: UsageRecord | None,
    images: int | None,
    reader: BookReader,
) -> _Shown:
    terms = _terms(entry.record, reader)
    how = (
        None
        if terms is None
        else price_explanation.explain(now, PriceBook.from_terms(terms), images)
    )
    return _Shown(entry, now, before, terms is not None, how)


def _terms(record: UsageRecord, reader: BookReader) -> bytes | None:
    return None if record.price_version is None else reader.price_terms(record.price_version)


def _print_how(told: _Shown, zone: ZoneInfo) -> None:
    """Print how the amounts came about, one step a line.

    For an adjustment it also prints the amounts before it.
    """
    version, how = told.entry.record.price_version, told.how
    if version is None:
        return
    if not told.terms_known:
        click.echo(
            f"The ledger does not hold the prices of version {version} that its amounts were made "
            "with."
        )
    elif told.entry.record.reason == FREE:
        click.echo("Its path is free in the config: no price applies to it.")
    elif how is None:
        click.echo(
            f"No row of the prices of version {version} applied to it, so that its amounts are "
            "not known."
        )
    else:
        what = (
            "How its amounts came about"
            if told.before is None
            else "What the record came to from then on"
        )
        click.echo(f"{what}, by the prices of version {version}")
        common.print_fields(price_explanation.lines(how, zone))
        if told.before is not None:
            common.print_fields(list(_differences(told.before, told.entry.record)))


def _differences(before: UsageRecord, adjustment: UsageRecord) -> Iterator[tuple[str, str]]:
    for name in ("cost", "charge"):
        was, change = getattr(before, f"{name}_nano"), getattr(adjustment, f"{name}_nano")
        was_shown = "not known" if was is None else formats.money(was)
        yield (
            f"{name} before",
            f"{was_shown}, so that the adjustment is {_shown('_nano', change, UTC)}",
        )


def _print(entry: Entry, zone: ZoneInfo) -> None:
    title = "Record" if entry.record.adjusts is None else f"Adjustment of {entry.record.adjusts}"
    click.echo(f"{title} {entry.record.id}")
    common.print_fields(
        [
            (name.removesuffix("_nano"), _shown(name, value, zone))
            for name, value in flat(entry).items()
        ]
    )


def _shown(name: str, value: object, zone: tzinfo) -> str:
    """A field for people: times with their zone, money as decimals, JSON for what is nested."""
    if value is None:
        return formats.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if name.endswith("_at_ms"):
            return (
                f"{datetime.fromtimestamp(value // 1000, UTC).astimezone(zone).isoformat(sep=' ')} "
                f"({value})"
            )
        return (
            formats.money(value)
            if name.endswith("_nano")
            else formats.count(value)
            if name.endswith("_tokens")
            else str(value)
        )
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else str(value)

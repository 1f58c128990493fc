"""`tollkeeper ledger export`: the records of a period as a file that billing loads.

The same export gives the same bytes each time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click

from proxy.accounting.export import records
from proxy.accounting.export.focus import Focus
from proxy.accounting.export.named import PARQUET, FormatMissing, format_named
from proxy.cli import common, formats, time_range
from proxy.core import dates
from proxy.core.records.canonical import COLUMNS, Value
from proxy.ledger.reading import BookReader, Stretch
from proxy.system.drafts import draft_of

_PLACE = {name: place for place, name in enumerate(COLUMNS)}

FOCUS = "focus"


class Totals:
    """Counts what went into the file, so that its reader can check that all of it arrived."""

    def __init__(self) -> None:
        self.records = 0
        self.adjustments = 0
        self._money: dict[str, dict[str, int]] = {}

    def add(self, rows: Sequence[Sequence[Value]]) -> None:
        self.records += len(rows)
        for row in rows:
            self.adjustments += row[_PLACE["kind"]] == "adjustment"
            for name in ("cost_nano", "charge_nano"):
                amount = row[_PLACE[name]]
                if isinstance(amount, int):
                    sums = self._money.setdefault(str(row[_PLACE["currency"]]), {})
                    sums[name] = sums.get(name, 0) + amount

    def lines(self) -> list[str]:
        """For people: the records, then the money, one line a currency."""
        counted = (
            f"records: {formats.count(self.records)}, of them adjustments: "
            f"{formats.count(self.adjustments)}"
        )
        money = [
            f"{currency}: "
            + ", ".join(
                f"{name.removesuffix('_nano')} {formats.money(nano)}" for name, nano in sums.items()
            )
            for currency, sums in sorted(self._money.items())
        ]
        return [counted, *money]


@click.command()
@common.config_option
@common.data_dir_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*records.FORMATS, FOCUS, PARQUET]),
    default="csv",
    show_default=True,
)
@time_range.options
@click.option(
    "--through",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Only what was booked up to this seq. Default: the last one, which is printed to stderr.",
)
@click.option(
    "--after",
    default=0,
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Only what was booked after this seq: what came since the export that ended there.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE, which is there only when it is complete. Default: standard output.",
)
@click.option("--yes", is_flag=True, help="Replace FILE if it exists.")
def export(
    config_path: Path | None,
    data_dir: Path | None,
    form: str,
    from_: str | None,
    to: str | None,
    month: str | None,
    through: int | None,
    after: int,
    out: Path | None,
    yes: bool,
) -> None:
    """Write the records of a period, one a line.

    Corrections are lines of their own, so that the sum of the lines is what `usage` says. csv has a
    column for each label of these records, `label:NAME`, behind the others. Read columns by their
    names. focus is FOCUS 1.2 for FinOps tools, without the records whose cost is not known.
    parquet has the columns of the csv, and needs the extra of that name.

    With the same range and the same --through the file is the same, byte for byte, however much is
    booked meanwhile. A correction belongs to the period of the record it corrects. For what was
    booked after an export, use --after with the seq of that export.

    \b
    Examples:
      tollkeeper ledger export --month 2026-11 --out november.csv
      tollkeeper ledger export --month 2026-11 --after 48213 --format jsonl
    """
    book = common.open_book(config_path, data_dir)
    start, end = time_range.parse(from_, to, month, book.zone)
    _check_out(out, yes)
    head = common.ask(book.reader.head)
    if (beyond := max(after, through or 0)) > head:
        raise common.Failed(
            f"The ledger {book.reader.name} ends at seq {head}, before {beyond}: check the "
            "number, and that this is the right ledger."
        )
    from_ms, to_ms = dates.range_ms(start, end)
    if through is not None and after > through:
        raise click.UsageError(
            f"nothing is after seq {after} and up to {through}: --after is the lower of both."
        )
    stretch = Stretch(
        after=after,
        through=head if through is None else through,
        from_ms=from_ms,
        to_ms=to_ms,
    )
    click.echo(_told(start, end, stretch, book), err=True)
    totals = Totals()
    with _opened(out) as file:
        near = common.ask(lambda: book.reader.narrowed(stretch))
        lines = _lines(form, book, near)
        bar = out is not None or not sys.stdout.isatty()
        common.ask(lambda: _write(file, lines, book.reader, near, totals, bar=bar))
    for line in totals.lines():
        click.echo(line, err=True)
    if isinstance(lines, Focus) and lines.left_out:
        click.echo(
            f"left out: {formats.count(lines.left_out)} records without a known cost, which FOCUS "
            "cannot say",
            err=True,
        )
    if (ended := common.ask(lambda: _hash_at(book.reader, stretch.through))) is not None:
        click.echo(f"head: seq {stretch.through}, hash {ended}", err=True)


def _lines(form: str, book: common.OpenLedger, stretch: Stretch) -> records.Lines:
    """The format of that name, or Failed with what to install."""
    if form == FOCUS:
        return Focus(book.zone)
    labels = common.ask(lambda: book.reader.label_names(stretch)) if form == "csv" else []
    try:
        return format_named(form, book.zone, labels)
    except FormatMissing as error:
        raise common.Failed(str(error)) from error


def _check_out(out: Path | None, yes: bool) -> None:
    """Refuse to replace what was not named for it."""
    if out is not None and out.exists():
        if not out.is_file():
            raise common.Failed(
                f"{out} is no ordinary file, and the export would replace it: leave out --out to "
                "write to standard output."
            )
        if not yes:
            raise common.Failed(f"{out} exists: choose another name, or add --yes to replace it.")


def _hash_at(reader: BookReader, seq: int) -> str | None:
    """The hash of the row that the export goes up to; None where there is none."""
    for page in reader.pages(Stretch(after=seq - 1, through=seq)) if seq else ():
        for row in page.rows:
            row_hash = row[_PLACE["hash"]]
            return row_hash.hex() if isinstance(row_hash, bytes) else None
    return None


def _told(
    start: datetime | None, end: datetime | None, stretch: Stretch, book: common.OpenLedger
) -> str:
    since = f" --after {stretch.after}" if stretch.after else ""
    return (
        f"Records {dates.described(start, end, book.zone)}, to be had again with{since} "
        f"--through {stretch.through}"
    )


def _write(
    file: BinaryIO,
    lines: records.Lines,
    reader: BookReader,
    stretch: Stretch,
    totals: Totals,
    *,
    bar: bool,
) -> None:
    """Write page by page, so that a long period needs no more memory and blocks no writer."""
    file.write(lines.begin())
    done = stretch.after
    with common.progress("Exporting", stretch.through - done, shown=bar) as advance:
        for page in reader.pages(stretch):
            file.write(lines.lines(page.rows))
            totals.add(page.rows)
            advance(page.upto_seq - done)
            done = page.upto_seq
    file.write(lines.end())


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that gets its name when all of it is on the disk.

    So half a month is never loaded.
    """
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with draft_of(out) as draft:
            with draft.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(out)
    except OSError as error:
        raise common.Failed(f"cannot write {out}: {error.strerror or error}") from error

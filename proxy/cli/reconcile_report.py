"""What holding the ledger against a bill came to, for people and as csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from fractions import Fraction
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from proxy.accounting.export.records import harmless, iso
from proxy.accounting.reconciling.comparison import Reconciled
from proxy.cli import formats
from proxy.cli.tables import Column, print_table
from proxy.core import dates
from proxy.core.money import decimal
from proxy.core.reconciling.causes import Cause
from proxy.core.reconciling.lines import Level
from proxy.core.reconciling.result import UNKNOWN, BilledDifference, BillTally, BillVerdict

SHOWN_MAX: Final = 20
_CAUSES: Final = {
    Cause.CACHED_AS_INPUT: "what was read from a cache is priced otherwise",
    Cause.OTHER_TIER: "billed in another service tier",
    Cause.MODEL_ALIAS: "billed under another model's name",
    Cause.ROUNDING: "rounded on the bill",
    Cause.DAY_BOUNDARY: "the vendor's day begins at another hour",
    Cause.ESTIMATE: "estimated here, since no use was stated",
    Cause.RETRY: "a request that is billed twice, or a failed try",
    Cause.REFUND: "the vendor took an amount back",
    Cause.FEE_APART: "searches are billed apart",
    Cause.CANCELLED: "the answer was broken off, and all of it is billed",
    Cause.PRICE: "the tokens agree, the price does not",
    Cause.EXCHANGE_RATE: "another exchange rate than the ledger's",
    Cause.UNPRICED: "no price here",
}
_VERDICTS: Final = {
    BillVerdict.MISSING_HERE: "on the bill alone: it went round the proxy",
    BillVerdict.MISSING_THERE: "in the ledger alone",
}
_NEXT: Final = {
    Cause.DAY_BOUNDARY: "add --zone with the vendor's zone",
    Cause.PRICE: "compare `tollkeeper price show` with the vendor's list, then `price rerate`",
    Cause.EXCHANGE_RATE: "write the bill's rate into `fx` for its month, then `price rerate`",
    Cause.UNPRICED: "add a row to `prices`, then `tollkeeper price rerate`",
    Cause.ESTIMATE: "`stream_usage: inject` makes such requests exact",
    Cause.OTHER_TIER: "add a row with `service_tier` to `prices`, then `price rerate`",
    Cause.CACHED_AS_INPUT: "look at `cached` of the price row, then `price rerate`",
}
_LEVELS: Final = {
    Level.REQUEST: "request by request",
    Level.HOUR: "by hour and model",
    Level.DAY: "by day and model",
    Level.MONTH: "by month and model",
}
# The columns of the csv.
COLUMNS: Final = (
    "verdict cause time model vendor_id record line requests ledger bill difference ledger_tokens "
    "bill_tokens items currency"
).split()


def within(found: Reconciled, tolerance: Fraction) -> bool:
    """Whether no more differs than this share of the bill.

    Without money on the bill, nothing may differ.
    """
    if not found.has_money:
        return found.difference_count == 0
    whole = abs(found.billed_nano) or abs(found.ledger_nano)
    return Fraction(found.gross_nano) <= tolerance * whole


def remainder_nano(found: Reconciled) -> int:
    """What differs for no reason that is known."""
    return found.differing.get(UNKNOWN, BillTally()).difference_nano


def as_csv(found: Reconciled, zone: tzinfo) -> str:
    """Each difference as a line, the largest first. No cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found.differences:
        writer.writerow(
            [
                one.verdict.value,
                "" if one.cause is None else one.cause.value,
                "" if one.at_ms is None else iso(one.at_ms, zone),
                *(harmless(text or "") for text in (one.model, one.id, one.record)),
                one.line or "",
                one.requests,
                *(
                    "" if nano is None else decimal(nano)
                    for nano in (one.own_nano, one.billed_nano, one.difference_nano)
                ),
                one.own_tokens,
                one.billed_tokens,
                harmless(one.items),
                found.currency,
            ]
        )
    return out.getvalue()


def show(
    found: Reconciled, files: Sequence[Path], vendor: str, tolerance: str, *, within: bool
) -> None:
    """Print the sums, the largest differences, and what to do next."""
    zone = ZoneInfo(found.zone)
    start, end = (
        datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone)
        for ms in (found.from_ms, found.to_ms)
    )
    click.echo(f"Bill of {vendor}, {', '.join(map(str, files))}: {found.shape}")
    click.echo(
        f"Compared {_LEVELS[found.level]} with the requests to {', '.join(found.upstreams)} "
        f"{dates.described(start, end, zone)}"
    )
    if vendor == "generic":
        read = (f"{field} is {column[:40]!r}" for field, column in found.columns.items())
        click.echo(f"Read from the columns: {', '.join(read)}")
    if found.ids_unknown:
        click.echo("The ledger knows none of the bill's ids, so sums are compared.")
    if found.models_unknown:
        click.echo(
            "The bill names none of the ledger's models, so the sums of all models are compared."
        )
    _print_sums(found)
    if found.differences:
        _print_differences(found, zone)
    _print_notes(found)
    if found.has_money:
        whole = abs(found.billed_nano) or abs(found.ledger_nano)
        share = Fraction(found.gross_nano, whole) if whole else Fraction(0)
        thousandths = (share * 100_000).__round__()
        click.echo(
            f"{formats.money(found.gross_nano)} {found.currency} differ, "
            f"{thousandths // 1000}.{thousandths % 1000:03d}% of the bill: "
            f"{'within' if within else 'beyond'} the tolerance of {tolerance}."
        )
    else:
        click.echo(
            f"The bill has tokens and no money: {found.difference_count} differences in tokens."
        )


def _print_sums(found: Reconciled) -> None:
    rows = [("matched", found.matched)]
    rows += [(_VERDICTS[BillVerdict.MISSING_HERE], found.missing_here)]
    rows += [(_VERDICTS[BillVerdict.MISSING_THERE], found.missing_there)]
    rows += [
        (
            "remainder: differs, and the cause is not known"
            if name == UNKNOWN
            else f"differs: {_CAUSES[Cause(name)]}",
            tally,
        )
        for name, tally in found.differing.items()
    ]
    total = BillTally(sum(tally.count for _, tally in rows), found.ledger_nano, found.billed_nano)
    print_table(
        [
            Column(""),
            Column("count", right=True),
            Column(f"ledger {found.currency}", right=True),
            Column(f"bill {found.currency}", right=True),
            Column("difference", right=True),
        ],
        [_sums(name, tally) for name, tally in rows if tally.count or name == "matched"],
        [_sums("total", total)],
    )


def _sums(name: str, tally: BillTally) -> tuple[str, ...]:
    return (
        name,
        formats.count(tally.count),
        formats.money(tally.own_nano),
        formats.money(tally.billed_nano),
        formats.money(tally.difference_nano),
    )


def _print_differences(found: Reconciled, zone: tzinfo) -> None:
    shown = found.differences[:SHOWN_MAX]
    click.echo(f"\nThe largest of {found.difference_count:,} differences")
    print_table(
        [
            Column("time"),
            Column("model"),
            Column("cause"),
            Column("ledger", right=True, drop=1),
            Column("bill", right=True, drop=2),
            Column("difference", right=True),
            Column("record or vendor's id", drop=3),
        ],
        [_row(one, found.level, zone) for one in shown],
    )


def _row(one: BilledDifference, level: Level, zone: tzinfo) -> tuple[str, ...]:
    time = "" if one.at_ms is None else iso(one.at_ms, zone)
    length = {Level.DAY: 10, Level.MONTH: 7, Level.HOUR: 13}.get(level, 19)
    named = one.record or one.id if level is Level.REQUEST else None
    return (
        time[:length],
        one.model or one.items or formats.UNKNOWN,
        one.cause.value
        if one.cause is not None
        else one.verdict.value
        if one.verdict is not BillVerdict.DIFFERING
        else UNKNOWN,
        *(
            formats.UNKNOWN if nano is None else formats.money(nano)
            for nano in (one.own_nano, one.billed_nano, one.difference_nano)
        ),
        named or (f"line {one.line}" if one.line else formats.UNKNOWN),
    )


def _print_notes(found: Reconciled) -> None:
    lines = [
        f"{theirs} of the bill is {ours} here." for theirs, ours in sorted(found.names.items())[:10]
    ]
    lines += [
        f"On the bill, and made by no request: {name}, {tally.count} lines, "
        f"{formats.money(tally.billed_nano)} {found.currency}."
        for name, tally in sorted(found.other.items())
    ]
    lines += [
        f"Left out: {tally.count:,} {reason}"
        + (f", {formats.money(tally.billed_nano)}" if tally.billed_nano else "")
        + "."
        for reason, tally in sorted(found.left_out.items())
    ]
    if found.by_hand.count:
        whole_nano = found.ledger_nano + found.by_hand.own_nano
        booked, whole = (formats.money(nano) for nano in (found.by_hand.own_nano, whole_nano))
        lines.append(
            f"Booked by hand for this vendor, and in none of the sums: {found.by_hand.count:,} "
            f"rows, {booked} {found.currency}. With them the ledger says {whole} {found.currency}."
        )
    lines += [
        f"The bill's {one.count:,} lines in {code} are {formats.money(one.original_nano)} {code}, "
        f"and {formats.money(one.nano)} {found.currency} at the stated rate."
        for code, one in sorted(found.converted.items())
    ]
    if found.booked_nano is not None:
        lines.append(
            f"In the ledger's currency the requests of this period cost "
            f"{formats.money(found.booked_nano)} {found.booked_currency}."
        )
    if found.day_begins_ms is not None:
        hours = Fraction(found.day_begins_ms, 3_600_000)
        lines.append(
            f"The vendor's day seems to begin {abs(hours)} hours "
            f"{'later' if hours > 0 else 'earlier'} than in {found.zone}."
        )
    lines += [
        f"{cause.value}: {todo}." for cause, todo in _NEXT.items() if cause.value in found.differing
    ]
    if lines:
        click.echo("\n" + "\n".join(lines))
    click.echo("")

"""`tollkeeper key import`: keys and teams that another gateway has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from proxy.cli import common, desk, export_source
from proxy.cli.lazy import later
from proxy.cli.tables import Column, print_table

if TYPE_CHECKING:
    from proxy.admin import imports
    from proxy.tenants import importing
    from proxy.tenants.other_gateways import export_rows, litellm, new_api, plan
else:
    imports, importing = map(later, ("proxy.admin.imports", "proxy.tenants.importing"))
    export_rows, litellm, new_api, plan = (
        later(f"proxy.tenants.other_gateways.{name}")
        for name in ("export_rows", "litellm", "new_api", "plan")
    )

CHUNK_BYTES_MAX = 48 * 1024  # of one request, of the 64 KiB that the admin API takes
ROW_BYTES_MAX = CHUNK_BYTES_MAX // 2  # of a key, which may need its team beside it
_COLUMNS = (
    Column("kind"),
    Column("name"),
    Column("outcome"),
    Column("notes", drop=1),
    Column("from", drop=2),
)


class ImportLine(msgspec.Struct, frozen=True):
    """What became of one row of the export; `spent_usd` there so far."""

    kind: str
    name: str
    outcome: str
    notes: tuple[str, ...]
    place: str
    spent_usd: str | None = None


@click.command("import")
@common.config_option
@common.json_option
@click.argument("sources", nargs=-1, required=True, metavar="FILE|URL...")
@click.option(
    "--from", "gateway", required=True, type=click.Choice(["litellm", "new-api", "one-api"])
)
@click.option("--dry-run", is_flag=True, help="Say what would become of each row; change nothing.")
@click.option("--team", help="The team of keys that name none. It has to be here already.")
@click.option(
    "--rate",
    metavar="'RATE CODE'",
    help="What a US dollar of a budget is in the ledger's currency, such as '7.1 CNY'.",
)
@click.option(
    "--quota-per-usd",
    default="500000",
    show_default=True,
    help="new-api: how much quota is a US dollar.",
)
@click.option(
    "--loosen", is_flag=True, help="Restrictions without a counterpart here suspend no key."
)
@click.option("--reason", metavar="TEXT", help="Why; it stands in the audit.")
def import_(
    config_path: Path | None,
    as_json: bool,
    sources: tuple[str, ...],
    gateway: str,
    dry_run: bool,
    team: str | None,
    rate: str | None,
    quota_per_usd: str,
    loosen: bool,
    reason: str | None,
) -> None:
    """Take over the keys and teams of another gateway. Callers keep their secrets.

    A FILE is JSON or CSV: of LiteLLM the answers of /key/list?return_full_object=true and
    /team/list, or dumps of its tables; of new-api and one-api a dump of the table `tokens`. A URL
    is a LiteLLM, with its master key in TOLLKEEPER_IMPORT_TOKEN. Rows that cannot be taken over are
    named, and the others are taken over. The same again changes nothing.

    \b
    Examples:
      tollkeeper key import --from litellm keys.json teams.json --dry-run
      tollkeeper key import --from new-api tokens.csv --team lab --rate '7.1 CNY'
    """
    options = plan.Options(
        money=_money(rate),
        team=team,
        loosen=loosen,
        quota_per_usd=_decimal(quota_per_usd, "--quota-per-usd"),
    )
    read = litellm.read if gateway == "litellm" else new_api.read
    try:
        texts = [text for source in sources for text in export_source.texts_of(source)]
        rows = [row for name, text in texts for row in export_rows.read_rows(text, name)]
        planned = read(rows, options)
        if not planned:
            raise export_rows.ExportError(f"No key and no team stands in {', '.join(sources)}.")
    except export_rows.ExportError as error:
        raise common.Failed(str(error)) from error
    why = f"import from {gateway}" if reason is None else reason
    told: list[ImportLine] = []
    stopped: common.Failed | None = None
    try:
        # What came before a failure stays in the list, and is told.
        told.extend(_carried_out(config_path, map(_fitting, planned), why, dry_run=dry_run))
    except common.Failed as error:
        stopped = error
    if as_json:
        common.print_json(told)
    else:
        _print(told, dry_run=dry_run)
    if stopped is not None:
        raise common.Failed(
            f"{stopped.message} The import ended here: what is listed above is done, and the same"
            " again does the rest."
        )
    refused = sum(one.outcome == importing.ImportOutcome.REFUSED for one in told)
    if refused:
        raise common.Failed(
            f"Not taken over: {refused}. Correct the export, and run this again: what is here"
            " already stays as it is."
        )


def _fitting(one: plan.Planned) -> plan.Planned:
    """The same, without a row that no request can take."""
    size = 0 if one.row is None else len(msgspec.json.encode(one.row))
    if size <= ROW_BYTES_MAX:
        return one
    why = f"it says {size} bytes, and one key or team may say {ROW_BYTES_MAX} in an import"
    return msgspec.structs.replace(one, row=None, notes=(*one.notes, why))


def _carried_out(
    config_path: Path | None, rows: Iterable[plan.Planned], reason: str, *, dry_run: bool
) -> Iterator[ImportLine]:
    planned = list(rows)
    for one in planned:
        if one.row is None:
            yield _told(one, importing.Imported(importing.ImportOutcome.REFUSED, one.name))
    seen: set[str] = set()
    for chunk in _chunks(planned):
        order = imports.ImportOrder([one.row for one in chunk if one.row], dry_run, reason)
        answer = desk.ask(
            config_path, "POST", imports.IMPORT_PATH, order, type=imports.ImportAnswer
        )
        for one, became in zip(chunk, answer.rows, strict=True):
            if one.place not in seen:
                seen.add(one.place)
                yield _told(one, became)


def _chunks(planned: Sequence[plan.Planned]) -> Iterator[list[plan.Planned]]:
    """As much as a request takes. A key comes with its team, which a dry run has not made."""
    teams = {one.name: one for one in planned if one.row and one.row.kind == "team"}
    chunk: dict[str, plan.Planned] = {}
    size = 0
    for one in planned:
        if one.row is None:
            continue
        team = teams.get(str(one.row.says.get("team")))
        more = [it for it in (team, one) if it is not None and it.place not in chunk]
        bytes_more = sum(len(msgspec.json.encode(it.row)) + 1 for it in more)
        if chunk and size + bytes_more > CHUNK_BYTES_MAX:
            yield list(chunk.values())
            chunk, size = {}, 0
            more = [it for it in (team, one) if it is not None]
            bytes_more = sum(len(msgspec.json.encode(it.row)) + 1 for it in more)
        chunk |= {it.place: it for it in more}
        size += bytes_more
    if chunk:
        yield list(chunk.values())


def _told(one: plan.Planned, became: importing.Imported) -> ImportLine:
    notes = one.notes if became.note is None else (*one.notes, became.note)
    return ImportLine(
        kind="" if one.row is None else one.row.kind,
        name=became.name,
        outcome=became.outcome,
        notes=notes,
        place=one.place,
        spent_usd=None if one.spent is None else f"{one.spent.normalize():f}",
    )


def _print(told: Sequence[ImportLine], *, dry_run: bool) -> None:
    print_table(
        _COLUMNS,
        [(one.kind, one.name, one.outcome, "; ".join(one.notes), one.place) for one in told],
    )
    spent = sum((Decimal(one.spent_usd) for one in told if one.spent_usd), Decimal(0))
    counts = {
        outcome: sum(one.outcome == outcome for one in told) for outcome in importing.ImportOutcome
    }
    summary = ", ".join(f"{outcome}: {count}" for outcome, count in counts.items())
    click.echo(f"{'Nothing was changed. ' if dry_run else ''}{summary}.")
    if spent:
        click.echo(f"Spent there so far: {spent.normalize():f} USD. None of it is booked here.")


def _money(rate: str | None) -> plan.Money:
    if rate is None:
        return plan.Money()
    number, _, code = rate.strip().partition(" ")
    if not (len(code) == 3 and code.isascii() and code.isupper()):
        raise common.Failed(f"--rate {rate!r}: write a number and a currency, such as '7.1 CNY'.")
    return plan.Money(code, _decimal(number, "--rate"))


def _decimal(text: str, option: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number <= 0:
        raise common.Failed(f"{option} {text!r} is no number above 0.")
    return number

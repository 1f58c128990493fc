"""`tollkeeper ledger push`: sends records as CloudEvents to a system that meters or bills."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import msgspec

from proxy.accounting.export.cloudevents import BATCH_TYPE, CloudEvents, LedgerEvent, Subject
from proxy.cli import common, formats, push_cursor
from proxy.cli.lazy import later
from proxy.cli.pushing import NotTaken, Pushed, Pusher
from proxy.cli.tables import printable
from proxy.config.values import duration
from proxy.core.records.canonical import COLUMNS
from proxy.ledger.reading import BookReader, Stretch

if TYPE_CHECKING:
    from proxy.notify import posting
else:
    posting = later("proxy.notify.posting")

TOKEN = "TOLLKEEPER_PUSH_TOKEN"
_ID = COLUMNS.index("id")


@click.command()
@common.config_option
@common.data_dir_option
@click.option("--url", required=True, metavar="URL", help="Where events are posted.")
@click.option(
    "--source", default="tollkeeper", show_default=True, help="What `source` begins with."
)
@click.option("--type", "type_", default="tollkeeper.record", show_default=True, help="The `type`.")
@click.option(
    "--subject",
    type=click.Choice(get_args(Subject)),
    default="team",
    show_default=True,
    help="What `subject` is; the key, where the record has none.",
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Begin behind this seq, whatever was pushed before.",
)
@click.option(
    "--batch",
    "batch_max",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="Events a request.",
)
@click.option(
    "--give-up",
    default="15m",
    show_default=True,
    metavar="TIME",
    help="How long a request is tried again.",
)
@click.option("--dry-run", is_flag=True, help="Send nothing; show the first event.")
@common.json_option
def push(
    config_path: Path | None,
    data_dir: Path | None,
    url: str,
    source: str,
    type_: str,
    subject: Subject,
    after: int | None,
    batch_max: int,
    give_up: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send the records that URL has not got yet, as CloudEvents 1.0 in batches.

    Each record is one event, and so is each adjustment: the sum of the events is the ledger. How
    far the receiver has got is kept in the data directory, so that a timer can call this. Each
    record is sent at least once, in the order of the book. One that is sent again has the same `id`
    and `source`, by which receivers know it.

    What may mend (no connection, 408, 425, 429, 5xx) is tried again, ever more slowly. Another
    answer ends the command with the reason and the first record that was not taken. A token for
    the receiver is read from TOLLKEEPER_PUSH_TOKEN.

    \b
    Examples:
      tollkeeper ledger push --url https://openmeter.example.org/api/v1/events
      tollkeeper ledger push --url http://127.0.0.1:8888/api/v1/events --subject key --dry-run
    """
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url {url!r} is no URL: write https://HOST/PATH.")
    try:
        give_up_s = duration(give_up)
    except ValueError as error:
        raise click.UsageError(f"--give-up: {error}.") from error
    book = common.open_own_book(config_path, data_dir, "ledger push")
    where = book.settings.data_dir if data_dir is None else data_dir
    head = common.ask(book.reader.head)
    made = CloudEvents(source, type_, subject)
    with push_cursor.held(push_cursor.cursor_path(where, url)) as cursor:
        begin = _begin(book.reader, head, cursor.read()) if after is None else after
        if begin > head:
            raise common.Failed(f"The ledger ends at seq {head}, before --after {begin}.")
        events = _events(book.reader, Stretch(after=begin, through=head), made)
        if dry_run:
            _show(common.ask(lambda: next(events, None)), head - begin)
            return
        with common.progress("Pushing", head - begin) as advance:
            done = common.ask(
                lambda: asyncio.run(_push(url, events, cursor, batch_max, give_up_s, advance))
            )
    if as_json:
        common.print_json(done)
    else:
        click.echo(
            f"Pushed: {formats.count(done.events)} records in {formats.count(done.requests)} "
            f"requests, up to seq {head}."
        )


def _begin(reader: BookReader, head: int, sent: push_cursor.Sent | None) -> int:
    """Behind which seq to begin. Raises Failed where this is not the ledger that was pushed."""
    if sent is None:
        return 0
    archives = common.ask(reader.archives)
    if archives and sent.seq <= archives[-1].last_seq:
        return sent.seq  # its record is in a file; what is missing behind it is told by the reader
    found = None
    if sent.seq <= head:
        stretch = Stretch(after=sent.seq - 1, through=sent.seq)
        for page in common.ask(lambda: list(reader.pages(stretch))):
            found = next((str(row[_ID]) for row in page.rows), None)
    if found != sent.id:
        raise common.Failed(
            f"The receiver has the record {sent.id} as seq {sent.seq}, and here that is "
            f"{found or 'no record'}: this ledger was restored, or is another one. Say with "
            "--after behind which seq to begin; what is sent again is known by its id."
        )
    return sent.seq


def _events(reader: BookReader, stretch: Stretch, made: CloudEvents) -> Iterator[LedgerEvent]:
    for page in reader.pages(stretch):
        yield from map(made.event, page.rows)


async def _push(
    url: str,
    events: Iterator[LedgerEvent],
    cursor: push_cursor.Cursor,
    batch_max: int,
    give_up_s: float,
    told: Callable[[int], None],
) -> Pushed:
    fields = {"Content-Type": BATCH_TYPE}
    if token := os.environ.get(TOKEN, "").strip():
        if not token.isprintable():
            raise common.Failed(f"{TOKEN} has a line break or a control character in it: mend it.")
        fields["Authorization"] = f"Bearer {token}"
    poster = posting.Poster(keep=True, whole=True)
    pusher = Pusher(
        lambda body: poster.post(url, fields, body),
        lambda event: cursor.write(push_cursor.Sent(event.seq, event.id)),
        batch_max=batch_max,
        give_up_s=give_up_s,
        told=told,
    )
    try:
        return await pusher.push(events)
    except NotTaken as error:
        verb = "refused" if error.refused else "did not take"
        raise common.Failed(
            f"The receiver {verb} the record {error.event.id} (seq {error.event.seq}): "
            f"{printable(error.said)}. What came before it was taken; the same command goes on "
            "there."
        ) from error
    finally:
        await poster.aclose()


def _show(event: LedgerEvent | None, records: int) -> None:
    click.echo(f"{formats.count(records)} records would be pushed. Nothing was sent.", err=True)
    if event is not None:
        click.echo(msgspec.json.format(event.text, indent=2))

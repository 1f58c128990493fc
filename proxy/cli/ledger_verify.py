"""`tollkeeper ledger verify`: whether the whole book is as it was written."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from proxy.cli import admin_client, common, formats
from proxy.cli.lazy import later
from proxy.cli.tables import Column, print_table, printable
from proxy.core.records.anchors import anchors_of
from proxy.ledger.verification import BookVerified, Workers
from proxy.ledger.verification import verify as verify_book

if TYPE_CHECKING:
    from proxy.ledger import verify_processes
else:
    verify_processes = later("proxy.ledger.verify_processes")

_COLUMNS = (
    Column("part"),
    Column("rows", right=True),
    Column("seals", right=True),
    Column("wrong", right=True),
)


@click.command()
@common.config_option
@common.data_dir_option
@common.json_option
@click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="The key of the seals, where it is not beside the ledger.",
)
@click.option(
    "--anchor",
    "anchor_files",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="What `ledger anchor` printed, one a line. May be given again.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    metavar="N",
    help="Verify with so many processes at once. Default: 1.",
)
def verify(
    config_path: Path | None,
    data_dir: Path | None,
    as_json: bool,
    key_file: Path | None,
    anchor_files: tuple[Path, ...],
    jobs: int,
) -> None:
    """Check that the book is as it was written.

    It finds records, credits, entries of the audit and prices that were changed, put in, taken out
    or moved, roll-ups that do not say what their records say, and damaged indexes. Of each part the
    first bad row comes first. A process may be running or not. With TOLLKEEPER_ADMIN_URL that
    process reads its own ledger, with its own key. The exit code is 3 if anything is wrong.

    A book whose end was cut off with its seals is found out with --anchor alone. --jobs takes about
    that many processor cores, and says the same.

    \b
    Examples:
      tollkeeper ledger verify
      tollkeeper ledger verify --anchor anchors.jsonl
      tollkeeper ledger verify --data-dir /backup/var --key ledger.key --json
    """
    if jobs > 1 and data_dir is None and admin_client.elsewhere() is not None:
        raise common.Failed(
            "--jobs: the process elsewhere reads its own ledger, and with one thread, so that it "
            "has time for requests. Leave --jobs out, or verify a copy where there is one."
        )
    book = common.open_book(config_path, data_dir)
    anchors = [anchor for file in anchor_files for anchor in _anchors(file)]
    key_file = key_file or book.key_file
    workers = _workers(book, key_file, jobs)
    # Each record is read twice: for its chain and for the sums.
    rows = 2 * common.ask(book.reader.head)
    with common.progress("Verifying", rows) as advance:
        try:
            found = common.ask(
                lambda: verify_book(
                    book.reader, key_file, advance, anchors=anchors, workers=workers
                )
            )
        except BrokenExecutor as error:
            raise common.Failed(
                "one of the processes was ended from outside, perhaps as memory was short: nothing "
                "was changed; verify again with fewer --jobs"
            ) from error
    if as_json:
        common.print_json({"ok": not found.found} | msgspec.to_builtins(found))
    else:
        _print(found)
    if found.found:
        raise click.exceptions.Exit(3)


def _workers(book: common.OpenLedger, key_file: Path | None, jobs: int) -> Workers | None:
    """The processes that verify; None: two threads do."""
    opened = book.opened
    if jobs == 1 or opened is None:
        return None
    return common.ask(lambda: verify_processes.Processes(opened, key_file, jobs))


def _anchors(file: Path) -> list[str]:
    """The anchors in the file, each a line of its own. Raises Failed."""
    try:
        return [msgspec.json.encode(anchor).decode() for anchor in anchors_of(file.read_text())]
    except (OSError, ValueError) as error:
        raise common.Failed(f"{file}: {error}.") from error


def _print(found: BookVerified) -> None:
    for finding in found.findings:
        click.echo(printable(finding.what))
    if (more := found.found - len(found.findings)) > 0:
        click.echo(f"... and {formats.count(more)} more.")
    print_table(
        _COLUMNS,
        [
            (part.name, formats.count(part.rows), formats.count(part.seals), str(part.found))
            for part in found.parts
        ],
    )
    for note in found.notes:
        click.echo(note)
    foreign = sum(part.seals_of_other_keys for part in found.parts)
    if foreign:
        click.echo(
            f"{formats.count(foreign)} seals could not be checked: they were made with another "
            "key, or there is none here. Name it with --key."
        )
    if not found.found:
        click.echo(f"Everything up to seq {found.through} is as it was written.")

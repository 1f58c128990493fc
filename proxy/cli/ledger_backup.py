"""`tollkeeper ledger backup`: copies the ledger into one file, also while a process uses it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from proxy.cli import common, formats
from proxy.cli.lazy import later
from proxy.ledger.signing import FILE as SIGNING_KEY

if TYPE_CHECKING:
    from proxy.ledger import backups
else:
    backups = later("proxy.ledger.backups")


@click.command()
@common.config_option
@common.data_dir_option
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option(
    "--verify/--no-verify",
    "check",
    default=True,
    show_default=True,
    help="Check the copy as `ledger verify` does, before it gets its name.",
)
@common.json_option
def backup(
    config_path: Path | None,
    data_dir: Path | None,
    file: Path,
    force: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Copy the ledger into FILE, as it stands at one moment, while a process may use it.

    FILE is there only when it is whole, checked and on the disk. It is readable for its owner
    alone. An earlier FILE stays unless --force is given.

    The keys are not in it: keep ledger.key, and ledger.ed25519.pem if there is one, somewhere else.
    A person who has both can forge the book. The journal is not in it either: `ledger replay`
    brings what was booked after the backup, as far as the journal keeps it.

    A ledger in PostgreSQL is backed up with its own tools; then the exit code is 2.

    \b
    Examples:
      tollkeeper ledger backup /backup/ledger.db --force
      tollkeeper ledger backup --data-dir ./var ledger-2026-12-01.db
    """
    book = common.open_own_book(config_path, data_dir, "ledger backup")
    where = book.settings.data_dir if data_dir is None else data_dir
    key_file = where / book.settings.ledger.key_file
    try:
        with common.told():
            done = backups.back_up(
                book.settings.ledger.url,
                where,
                file,
                key_file=key_file,
                replace=force,
                check=check,
                told=_told,
            )
    except common.Failed as failed:
        _clear_line()
        if isinstance(failed.__cause__, backups.NoBackup):
            raise click.UsageError(failed.message) from failed
        raise
    _clear_line()
    if as_json:
        common.print_json(
            msgspec.to_builtins(done) | {"verified": None if done.verified is None else True}
        )
        return
    common.print_fields(_fields(done))
    signing_key = key_file.with_name(SIGNING_KEY)
    keys = [str(path) for path in (key_file, signing_key) if path.exists()]
    click.echo(
        f"\nNot in it: {' and '.join(keys) or 'any key'}, and the journal. Keep a copy of the keys "
        "where the backups are not."
    )


def _fields(done: backups.BackedUp) -> list[tuple[str, str]]:
    checked = "as it was written"
    if done.verified is None:
        checked = "not checked"
    elif foreign := sum(part.seals_of_other_keys for part in done.verified.parts):
        checked += f"; {formats.count(foreign)} seals not checked, as their key is not here"
    return [
        ("backup", done.path),
        ("size", formats.size(done.bytes)),
        ("sha256", done.sha256),
        ("head", f"seq {done.last_seq}, {formats.text(done.last_hash)}"),
        ("verified", checked),
    ]


def _told(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        percent = 100 * done // of if of else 100
        click.echo(f"\r\033[K{what}: {min(percent, 100)} %", nl=False, err=True)


def _clear_line() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)

"""`tollkeeper ledger anchor`: where the book ends now, to be kept elsewhere."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from proxy.cli import common


@click.command()
@common.config_option
@common.data_dir_option
def anchor(config_path: Path | None, data_dir: Path | None) -> None:
    """Print where the book ends now, as one line of JSON to keep elsewhere.

    It has the last seq with its hash, its time and its seal with the key's name, and the ends of
    the credits and of the audit. `ledger verify --anchor FILE` holds the book against it later: a
    book whose end was cut off, or that was made anew with its key, is found out by nothing else.

    \b
    Examples:
      tollkeeper ledger anchor
      tollkeeper ledger anchor | ssh elsewhere 'cat >> anchors.jsonl'
    """
    book = common.open_book(config_path, data_dir)
    found = common.ask(book.reader.anchor)
    click.echo(msgspec.json.encode(found).decode())

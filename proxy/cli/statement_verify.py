"""`tollkeeper statement verify`: is a closed statement as it was signed, and does it add up?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click

from proxy.accounting.statements.kept import NoStatement, sums_wrong, thawed
from proxy.cli import common, time_range
from proxy.cli.statement_book import held, not_closed
from proxy.core.statements.closing import ClosedStatement, Closings
from proxy.core.statements.frozen import digest, key_of_pem
from proxy.ledger.signing import FILE, is_signed, public_key_beside

DIFFERS = 3  # the exit code
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@click.command()
@common.config_option
@common.data_dir_option
@click.argument("what", metavar="FILE|YYYY-MM")
@click.option("--team", help="With a month: the statement of this team.")
@click.option(
    "--key",
    metavar="FILE|HEX",
    help="The public key to check with, as it was published: a PEM file, or its 64 hex digits. "
    "A statement in a file needs it.",
)
def verify(
    config_path: Path | None,
    data_dir: Path | None,
    what: str,
    team: str | None,
    key: str | None,
) -> None:
    """Check a closed statement: its signature, its sums, and the ledger behind it.

    A FILE that `statement show --save` wrote is checked with its signature beside it, FILE.sig, and
    with the public key alone: no ledger and no config are needed. A month is checked in the
    ledger: its signature, and each amount against the records. A copy of a ledger without
    ledger.ed25519.pem beside it needs the key too: a forger may have signed with another one.

    The exit code is 3 if something is wrong.

    \b
    Examples:
      tollkeeper statement verify november/statement-1-2026-11.json --key public.pem
      tollkeeper statement verify 2026-11
    """
    public_key = None if key is None else _read_key(key)
    is_file = os.path.exists(what)  # noqa: PTH110  # Path raises for a name that is too long
    if not is_file:
        time_range.check_month(what, "FILE|YYYY-MM (there is no such file)")
    try:
        if not is_file:
            wrong, said = _month(config_path, data_dir, what, team, public_key)
        else:
            wrong, said = _file(Path(what), public_key)
    except NoStatement as error:
        raise common.Failed(f"{what}: {error}.") from error
    for one in wrong:
        click.echo(one)
    if wrong:
        raise click.exceptions.Exit(DIFFERS)
    click.echo(said)


def _file(path: Path, public_key: bytes | None) -> tuple[list[str], str]:
    """What is wrong with a file, and what is said if nothing is."""
    if public_key is None:
        raise click.UsageError(
            "name the public key with --key, as it was published, and not as it came with the file."
        )
    try:
        document = path.read_bytes()
        signature = path.with_name(f"{path.name}.sig").read_bytes()
    except OSError as error:
        raise common.Failed(
            f"cannot read {error.filename}: {error.strerror}. `tollkeeper statement show --save` "
            "writes a statement and its signature, which belong side by side."
        ) from error
    wrong = []
    with common.told():
        if not is_signed(document, signature, public_key):
            wrong.append("the signature is not that of this key over this file")
    found = thawed(document)
    wrong += sums_wrong(document)
    return wrong, f"Statement {found.number} of {found.month} is as it was signed, and adds up."


def _month(
    config_path: Path | None,
    data_dir: Path | None,
    month: str,
    team: str | None,
    public_key: bytes | None,
) -> tuple[list[str], str]:
    """What is wrong with a month in the ledger, and what is said if nothing is."""
    book = common.open_book(config_path, data_dir)
    closings = common.ask(book.reader.closings)
    closing = Closings(closings).of(month, team)
    kept = None
    if closing is not None:
        number = closing.number
        kept = common.ask(lambda: book.reader.closed_statement(number))
    if closing is None or kept is None:
        raise common.Failed(not_closed(closings, month, team))
    if public_key is None:
        with common.told():
            public_key = public_key_beside(book.key_file)
    wrong = list(_wrong(kept, closing.digest, public_key))
    found = thawed(kept.document)
    wrong += sums_wrong(kept.document)
    differences = held(book.reader, found, closings)
    wrong += [f"not what the ledger says now: {one}" for one in differences or ()]
    said = f"Statement {found.number} of {month} is as it was closed"
    said += "." if differences is None else ", and the ledger says the same."
    return wrong, said if public_key is not None else f"{said}\n{_unknown(kept, book)}"


def _unknown(kept: ClosedStatement, book: common.OpenLedger) -> str:
    """What is said where only the statement itself names the key."""
    where = "" if book.key_file is None else f", as {book.key_file.with_name(FILE)} is not there"
    return (
        f"Its signature was checked with the key {kept.public_key.hex()}, which it names itself"
        f"{where}: a person who can write the ledger can name another. Hold it against the key "
        "that was published, or give that with --key."
    )


def _wrong(kept: ClosedStatement, hashed: str, public_key: bytes | None) -> Iterator[str]:
    if digest(kept.document) != hashed:
        yield "it was changed since it was closed"
    with common.told():
        if public_key not in (None, kept.public_key):
            yield "it was signed with another key"
        elif not is_signed(kept.document, kept.signature, kept.public_key):
            yield "its signature is wrong"


def _read_key(given: str) -> bytes:
    """The key in a PEM file, or of these hex digits. Raises Failed."""
    if _HEX.fullmatch(given):
        return bytes.fromhex(given)
    try:
        return key_of_pem(Path(given).read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise common.Failed(f"--key {given!r} is no file, and no key of 64 hex digits") from error
    except (OSError, ValueError) as error:
        raise common.Failed(f"{given}: {error}") from error

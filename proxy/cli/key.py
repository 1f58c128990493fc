"""`tollkeeper key`: the digests that config.yaml keeps instead of secrets."""

from __future__ import annotations

import hashlib
import secrets
import sys
from pathlib import Path

import click

from proxy.cli import common
from proxy.tenants.key import KEY_BYTES_MIN, check, make_key


@click.group()
def key() -> None:
    """API keys."""


@key.command("hash")
@common.config_option
@common.json_option
@click.option(
    "--new", is_flag=True, help="Make a new random key and print it too. It is shown this once."
)
def hash_(config_path: Path | None, as_json: bool, new: bool) -> None:
    """Print the `secret_sha256` of a key, for config.yaml.

    The secret is read from standard input, without an echo on a terminal, and never from the
    command line, where others could see it. No config is read.

    \b
    Examples:
      tollkeeper key hash
      printf %s "$ALICE_KEY" | tollkeeper key hash
      tollkeeper key hash --new
    """
    secret = make_key(secrets.token_bytes(KEY_BYTES_MIN)) if new else _read()
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if as_json:
        common.print_json(({"secret": secret} if new else {}) | {"secret_sha256": digest})
        return
    if new:
        click.echo(f"secret: {secret}")
    click.echo(f"secret_sha256: {digest}")


def _read() -> str:
    """The secret from the prompt or the first line of standard input."""
    if sys.stdin.isatty():
        secret = str(click.prompt("Key", hide_input=True, err=True))
    else:
        try:
            secret = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise common.Failed("The key on standard input is not UTF-8.") from error
    if not secret.strip():
        raise common.Failed("There is no key on standard input: pipe one in, or use --new.")
    if secret != secret.strip():
        raise common.Failed("The key begins or ends with a space: no client can send it that way.")
    if secret.startswith("sk-tk-") and not check(secret):
        raise common.Failed("This sk-tk- key has a typo: its check characters do not fit.")
    return secret

"""`tollkeeper health`: whether a running proxy lives, for a container that has no curl.

It reads no config. A file with a mistake, which the running process has refused, must not make that
process look dead.
"""

from __future__ import annotations

import http.client
import json

import click

ADDRESS = "127.0.0.1:8790"  # the default of `listen`
ANSWER_S = 5.0
_ANSWER_BYTES = 4096
_GOOD = {"/healthz": "ok", "/readyz": "ready"}


@click.command()
@click.argument("address", metavar="[HOST:PORT]", default=ADDRESS)
@click.option(
    "--ready",
    is_flag=True,
    help="Ask if it can take work. It cannot while it drains, or cannot write its journal.",
)
def health(address: str, ready: bool) -> None:
    """Ask a running proxy whether it lives.

    HOST:PORT is one of its listeners, by default 127.0.0.1:8790. The exit code is 0 if it lives
    and 1 if it does not answer in 5 seconds. No config is read.

    \b
    Examples:
      tollkeeper health
      tollkeeper health 127.0.0.1:9464 --ready
    """
    path = "/readyz" if ready else "/healthz"
    try:
        connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
    except http.client.InvalidURL as error:
        raise click.UsageError(f"{address!r} is no HOST:PORT: {error}.") from error
    try:
        connection.request("GET", path)
        told = _status(connection.getresponse().read(_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise click.ClickException(
            f"Nothing answers at {address} ({error or 'no answer'}). Is it running, and is this "
            "its `listen`?"
        ) from error
    finally:
        connection.close()
    if told.get("status") != _GOOD[path]:
        raise click.ClickException(
            f"{address}: {told.get('status', 'this is no tollkeeper')}"
            + (f" ({told['reason']})" if "reason" in told else "")
        )
    click.echo(_GOOD[path])


def _status(body: bytes) -> dict[str, object]:
    """The members of a health answer; none if it is no JSON object."""
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}

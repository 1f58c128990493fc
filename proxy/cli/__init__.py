"""The command line: one module a noun, thin over the parts that do the work. Exit codes are in `common`."""

from __future__ import annotations

import click

from proxy import __version__
from proxy.cli.check import check
from proxy.cli.demo import demo
from proxy.cli.key import key
from proxy.cli.ledger import ledger
from proxy.cli.limit import limit
from proxy.cli.price import price
from proxy.cli.record import record
from proxy.cli.serve import serve
from proxy.cli.usage import usage


@click.group(commands=[serve, demo, check, key, usage, limit, record, price, ledger])
@click.version_option(__version__, prog_name="tollkeeper")
def main() -> None:
    """Tollkeeper: a usage-metering reverse proxy for OpenAI-compatible APIs.

    \b
    Start here:
      tollkeeper demo
      tollkeeper serve --upstream https://api.example.com/v1
    """

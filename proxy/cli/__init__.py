"""The command line: one module for each noun, thin over the parts that do the work.

`common` lists the exit codes.
"""

from __future__ import annotations

import io
import sys

import click

from proxy import __version__
from proxy.cli.lazy import LazyGroup

NOUNS = ("serve", "demo", "init", "check", "key", "usage", "limit", "record", "price", "ledger")


@click.group(cls=LazyGroup, lazy={noun: f"proxy.cli.{noun}:{noun}" for noun in NOUNS})
@click.version_option(__version__, prog_name="tollkeeper")
def main() -> None:
    """Tollkeeper: a usage-metering reverse proxy for OpenAI-compatible APIs.

    \b
    Start here:
      tollkeeper demo
      tollkeeper init DIR
      tollkeeper serve --upstream https://api.example.com/v1
    """
    # Escape what the terminal's encoding cannot show: no name in a ledger may stop a report.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

"""The command line: one module for each noun, thin over the parts that do the work.

`common` lists the exit codes.
"""

from __future__ import annotations

import io
import sys

import click

from proxy import __version__
from proxy.cli.hints import HintingGroup

# Each noun with the first sentence of its help.
NOUNS = {
    "serve": "Run the proxy: data, health and metrics listeners.",
    "demo": "Start a scripted upstream and the proxy in front of it, and print lines to paste.",
    "init": "Write the files to set up with into DIR, and say what to do next.",
    "reload": "Let the running process read its config again, and say what changed.",
    "health": "Ask a running proxy whether it lives.",
    "check": "Validate the config; print what is in effect, defaults included and secrets masked.",
    "key": "API keys: make, change, rotate, suspend and end them.",
    "team": "Teams, which pay for their keys.",
    "audit": "What was done to keys, teams and the config.",
    "usage": "Show what was used: requests, tokens and money, by group.",
    "limit": "Limits and their running counts.",
    "notify": "Who is told when a limit is reached or something is wrong.",
    "record": "Single ledger records.",
    "price": "What tokens cost: rows from config.yaml and from the bundled table.",
    "ledger": "The ledger as a whole.",
    "statement": "A month for those who pay.",
    "instance": "The processes that share a ledger.",
}


@click.group(
    cls=HintingGroup,
    lazy={noun: (f"proxy.cli.{noun}:{noun}", said) for noun, said in NOUNS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
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

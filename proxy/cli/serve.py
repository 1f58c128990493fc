"""`tollkeeper serve`: run the proxy until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import uvloop

from proxy import config, logs, server
from proxy.cli import common, descriptors

LOG = logging.getLogger("tollkeeper.serve")


@click.command()
@common.config_option
@click.option("--upstream", metavar="URL", help="No config at all: forward to URL with the caller's own credential. Data goes to ./var.")
def serve(config_path: Path | None, upstream: str | None) -> None:
    """Run the proxy: data, health and metrics listeners. SIGHUP reloads the config, SIGTERM drains and stops.

    \b
    Examples:
      tollkeeper serve -c config.yaml
      tollkeeper serve --upstream https://api.modelverse.cn/v1
    """
    if upstream is not None and config_path is not None:
        raise click.UsageError("--upstream takes no config: leave out -c, or name the upstream in the config.")
    if upstream is None:
        loaded = common.load(config_path)
        # The same file again, wherever it was found: a reload must not switch to another.
        run(loaded, ready=_announce, reload=lambda: config.load(loaded.path, os.environ))
    else:
        run(_forward_only(upstream), ready=_announce)


def run(loaded: config.Loaded, *, ready: Callable[[server.Addresses], None], reload: Callable[[], config.Loaded] | None = None) -> None:
    """Log to stderr and serve until stopped; Failed with the reason if the process cannot start."""
    logs.configure(loaded.settings.log.format, sys.stderr)
    for warning in loaded.warnings:
        LOG.warning("config: %s", warning)
    if (shortage := descriptors.shortage(descriptors.raise_limit(), loaded.settings.inflight_max)) is not None:
        LOG.warning("%s", shortage)
    try:
        uvloop.run(server.serve(loaded, ready=ready, reload=reload, environ=os.environ))
    except server.StartError as error:
        raise common.Failed(str(error)) from error


def _forward_only(url: str) -> config.Loaded:
    try:
        return config.forward_only(url, os.environ)
    except config.ConfigError as error:
        raise click.UsageError("; ".join(error.messages)) from error


def _announce(addresses: server.Addresses) -> None:
    urls = {"base_url": f"http://{addresses.data}/v1", "metrics": f"http://{addresses.metrics}/metrics"}
    LOG.info("ready", extra={"fields": urls})

"""`tollkeeper serve`: run the proxy until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy.cli import common
from proxy.cli.estimated import unstated
from proxy.cli.lazy import later
from proxy.listeners import descriptors

if TYPE_CHECKING:
    import uvloop

    from proxy.config import loader
    from proxy.server import crew, lifecycle, listening, logs, startup
else:
    uvloop = later("uvloop")
    loader = later("proxy.config.loader")
    crew = later("proxy.server.crew")
    lifecycle = later("proxy.server.lifecycle")
    logs = later("proxy.server.logs")
    startup = later("proxy.server.startup")

LOG = logging.getLogger("tollkeeper.serve")


@click.command()
@common.config_option
@click.option(
    "--upstream",
    metavar="URL",
    help="No config at all: forward to URL with the caller's own credential. Data goes to ./var.",
)
@click.option(
    "--listen", metavar="HOST:PORT", help="With --upstream: another address than 127.0.0.1:8790."
)
@click.option(
    "--metrics-listen",
    metavar="HOST:PORT",
    help="With --upstream: another address than 127.0.0.1:9464.",
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, 64),
    default=1,
    help="So many processes on this machine, where ledger and quota are shared (docs/scale.md).",
)
def serve(
    config_path: Path | None,
    upstream: str | None,
    listen: str | None,
    metrics_listen: str | None,
    processes: int,
) -> None:
    """Run the proxy: data, health and metrics listeners.

    SIGHUP reloads the config. SIGTERM lets running requests end, then stops.

    \b
    Examples:
      tollkeeper serve -c config.yaml
      tollkeeper serve --upstream https://api.modelverse.cn/v1
    """
    _let_sigterm_end_the_start()
    if upstream is not None and config_path is not None:
        raise click.UsageError(
            "--upstream takes no config: leave out -c, or name the upstream in the config."
        )
    if upstream is None and (listen is not None or metrics_listen is not None):
        raise click.UsageError(
            "--listen and --metrics-listen go with --upstream; a config has `listen` and "
            "`metrics.listen`."
        )
    if upstream is None:
        loaded = common.load(config_path)
        if processes > 1:
            sys.exit(_run_several(loaded, processes))
        # A reload reads the same file again, even where another one would now be found first.
        run(loaded, ready=_announce, reload=lambda: loader.load(loaded.path, os.environ))
    else:
        if processes > 1:
            raise click.UsageError("--processes needs a config that names shared stores.")
        run(_forward_only(upstream, listen, metrics_listen), ready=_announce)


def run(
    loaded: loader.Loaded,
    *,
    ready: Callable[[listening.Addresses], None],
    reload: Callable[[], loader.Loaded] | None = None,
    member: crew.Member | None = None,
) -> None:
    """Log to stderr and serve until stopped; Failed with the reason if the process cannot start."""
    logs.configure(loaded.settings.log.format, sys.stderr)
    for warning in loaded.warnings:
        LOG.warning("config: %s", warning)
    for line in unstated(loaded.settings, time.time_ns() // 1_000_000):
        LOG.info("%s", line)
    settings, limit = loaded.settings, descriptors.raise_limit()
    if (
        shortage := descriptors.shortage(limit, settings.inflight_max, settings.connections_max)
    ) is not None:
        # It is a warning if the operator named the number, or if not even the requests fit.
        fair = limit >= settings.inflight_max and settings.connections_max is None
        LOG.log(logging.INFO if fair else logging.WARNING, "%s", shortage)
    try:
        uvloop.run(
            lifecycle.serve(loaded, ready=ready, reload=reload, environ=os.environ, member=member)
        )
        LOG.info("stopped")
    except startup.StartError as error:
        raise common.Failed(str(error)) from error


def _run_several(loaded: loader.Loaded, processes: int) -> int:
    """The exit code of a parent with so many children."""
    if (reason := crew.why_not_several(loaded.settings)) is not None:
        raise common.Failed(f"--processes {processes}: {reason}")
    logs.configure(loaded.settings.log.format, sys.stderr)

    def serve_one(member: crew.Member) -> int:
        def read() -> loader.Loaded:
            return member.loaded(loader.load(loaded.path, os.environ))

        try:
            # As it is now: the parent's is the one of before all reloads.
            now = member.loaded(common.load(loaded.path))
            run(now, ready=_announce, reload=read, member=member)
        except common.Failed as error:
            error.show()
            return error.exit_code
        return 0

    base = startup.instance_of(loaded.settings, True) or "tollkeeper"
    try:
        return crew.Crew(loaded.settings, base, processes, serve_one).run()
    except OSError as error:
        raise common.Failed(f"listen: {error.strerror or error}") from error


def _let_sigterm_end_the_start() -> None:
    """As process 1 of a container only a handler of its own can: the kernel drops the signal else.

    Once it serves, a SIGTERM begins the drain.
    """
    if os.getpid() == 1:
        # At once, as any other process ends: what a start leaves behind is what a kill leaves.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def _forward_only(url: str, listen: str | None, metrics_listen: str | None) -> loader.Loaded:
    try:
        return loader.forward_only(url, os.environ, listen=listen, metrics_listen=metrics_listen)
    except loader.ConfigError as error:
        raise click.UsageError("; ".join(error.messages)) from error


def _announce(addresses: listening.Addresses) -> None:
    urls = {
        "base_url": f"http://{addresses.data}/v1",
        "metrics": f"http://{addresses.metrics}/metrics",
    }
    if addresses.more:
        urls["also"] = " ".join(f"http://{address}/v1" for address in addresses.more)
    if addresses.admin:
        urls["admin"] = f"http://{addresses.admin}/admin/v1"
    LOG.info("ready", extra={"fields": urls})

"""Opens the listeners: metrics and admin first, the clients' last.

So a start that fails has served nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from proxy.admin.app import AdminPlane
from proxy.admin.routes import admin_routes
from proxy.config.settings import Settings, addresses_of, host_port
from proxy.core.http.health import Health
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.listener import Listener
from proxy.dataplane.services import Services
from proxy.listeners.acceptor import Acceptor
from proxy.listeners.addresses import shown
from proxy.listeners.descriptors import connections_max, limit
from proxy.metrics.server import MetricsListener
from proxy.server.readiness import Readiness
from proxy.server.startup import StartError, observe


class Addresses(msgspec.Struct, frozen=True):
    """Where the process listens."""

    data: str
    metrics: str
    admin: str = ""  # on TCP, if a token is configured; the control socket is in the data directory
    more: tuple[str, ...] = ()  # beside `data`, where `listen` is a list


class Front(NamedTuple):
    """Where requests come in: the clients' connections, who accepts them, who answers."""

    gateway: Gateway
    listener: Listener
    acceptor: Acceptor
    metrics: MetricsListener
    addresses: Addresses


async def open_side(
    gateway: Gateway,
    services: Services,
    health: Health,
    readiness: Readiness,
    close: contextlib.AsyncExitStack,
) -> tuple[MetricsListener, str, str]:
    """The metrics listener and the admin plane; the first, and the addresses of both.

    Raises StartError.
    """
    settings = gateway.snapshot.settings
    metrics = MetricsListener(
        services.metrics,
        health,
        observe(services, settings, lambda: gateway.snapshot),
        hosts=settings.metrics.hosts,
        header_s=settings.timeouts.header_s,
    )
    close.push_async_callback(metrics.aclose)
    with _opening(
        "metrics.listen", settings.metrics.listen, " (with --upstream: --metrics-listen)"
    ):
        metrics_address = await metrics.start(*host_port(settings.metrics.listen))
    plane = AdminPlane(
        admin_routes(services, lambda: gateway.snapshot, readiness.reason),
        health,
        header_s=settings.timeouts.header_s,
    )
    close.push_async_callback(plane.aclose)
    with _opening("admin.listen", settings.admin.listen):
        admin_address = await plane.start(settings, lambda: gateway.snapshot.settings.admin.tokens)
    return metrics, metrics_address, admin_address


async def open_data(
    settings: Settings, listener: Listener, close: contextlib.AsyncExitStack
) -> tuple[Acceptor, list[str]]:
    """The clients' listener, and its addresses. Raises StartError."""
    acceptor = Acceptor(
        listener,
        listener.waits,
        listener.waits_for_body,
        most=clients_max(settings),
        name="connections_max",
    )
    close.callback(acceptor.close)
    addresses = []
    for listen in addresses_of(settings):
        with _opening("listen", listen, " (with --upstream: --listen), or stop what uses it"):
            addresses.append(shown(await acceptor.listen(*host_port(listen))))
    return acceptor, addresses


def clients_max(settings: Settings) -> int:
    """How many connections of clients are open at once."""
    return connections_max(limit(), settings.inflight_max, settings.connections_max)


@contextlib.contextmanager
def _opening(setting: str, address: str, remedy: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartError(
            f"{setting}: {address} cannot be opened: {error.strerror or error}."
            f" Choose another address{remedy}."
        ) from error

"""Opens the listeners: metrics and admin first, the clients' last.

So a start that fails has served nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec

from proxy.admin.app import AdminPlane
from proxy.admin.reload import Reloading
from proxy.admin.routes import admin_routes
from proxy.admin.tenants import Changing
from proxy.config.settings import Settings, addresses_of, admin_listens, host_port
from proxy.core.http.health import Health
from proxy.dataplane.gateway import Gateway
from proxy.dataplane.listener import Listener
from proxy.dataplane.services import Services
from proxy.listeners.acceptor import Acceptor
from proxy.listeners.addresses import shown, sockets_at
from proxy.listeners.descriptors import connections_max, limit
from proxy.metrics.server import MetricsListener
from proxy.server.crew import Member
from proxy.server.crew_reload import CrewReload, open_for_reloads
from proxy.server.readiness import Readiness
from proxy.server.startup import StartError, admin_pages_of, observe


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
    change: Changing,
    reload: Reloading,
    close: contextlib.AsyncExitStack,
    member: Member | None = None,
) -> tuple[MetricsListener, str, str]:
    """Opens the metrics listener and the admin plane.

    Returns the first, and the addresses of both. Of several children the first one has the latter.
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
    planned = [one for one in places(settings) if member is None or one.setting != "listen"]
    async with _opening(planned[0], planned):
        metrics_address = await metrics.start(*host_port(settings.metrics.listen))
    if member is not None:
        if member.number > 0:
            alone = await open_for_reloads(reload, settings.data_dir, member, health)
            close.push_async_callback(alone.aclose)
            return metrics, metrics_address, ""
        reload = CrewReload(reload, settings.data_dir, member)
    routes = admin_routes(services, lambda: gateway.snapshot, readiness.reason, change, reload)
    make = admin_pages_of(settings)
    plane = AdminPlane(
        routes,
        health,
        header_s=settings.timeouts.header_s,
        pages=None if make is None else make(services, lambda: gateway.snapshot, routes),
    )
    close.push_async_callback(plane.aclose)
    async with _opening(Place("admin.listen", settings.admin.listen), planned):
        admin_address = await plane.start(settings, lambda: gateway.snapshot.settings.admin)
    return metrics, metrics_address, admin_address


def acceptor_of(
    settings: Settings, listener: Listener, close: contextlib.AsyncExitStack
) -> Acceptor:
    """What will accept the clients' connections; it listens nowhere yet."""
    acceptor = Acceptor(
        listener,
        listener.waits,
        listener.waits_for_body,
        most=clients_max(settings),
        name="connections_max",
    )
    close.callback(acceptor.close)
    return acceptor


async def open_data(
    settings: Settings, acceptor: Acceptor, member: Member | None = None
) -> list[str]:
    """Opens the clients' listeners, unless the parent has; their addresses. Raises StartError."""
    if member is not None:
        return [shown(acceptor.accept_from([one])) for one in member.sockets]
    addresses = []
    planned = places(settings)
    for place in planned:
        if place.setting == "listen":
            async with _opening(place, planned):
                addresses.append(shown(await acceptor.listen(*host_port(place.address))))
    return addresses


def clients_max(settings: Settings) -> int:
    """How many connections of clients are open at once."""
    return connections_max(limit(), settings.inflight_max, settings.connections_max)


class Place(NamedTuple):
    """An address of the config, and what else helps where it cannot be opened."""

    setting: str
    address: str
    remedy: str = ""

    def fault(self, error: OSError) -> str:
        """What to tell an operator."""
        return (
            f"{self.setting}: {self.address} cannot be opened: {error.strerror or error}."
            f" Choose another address{self.remedy}."
        )


def places(settings: Settings) -> list[Place]:
    """All addresses that the config asks for, in the order in which they are opened."""
    metrics = Place(
        "metrics.listen", settings.metrics.listen, " (with --upstream: --metrics-listen)"
    )
    admin = Place("admin.listen", settings.admin.listen)
    return [
        metrics,
        *([admin] if admin_listens(settings) else []),
        *(
            Place("listen", address, " (with --upstream: --listen), or stop what uses it")
            for address in addresses_of(settings)
        ),
    ]


@contextlib.asynccontextmanager
async def _opening(place: Place, planned: Sequence[Place]) -> AsyncIterator[None]:
    """Raises StartError for an address that cannot be opened.

    It names those behind it that cannot be opened either, so that one look mends them all.
    """
    try:
        yield
    except OSError as error:
        faults = [place.fault(error)]
        behind = planned.index(place) + 1 if place in planned else len(planned)
        for later in planned[behind:]:
            try:
                for opened in await sockets_at(*host_port(later.address)):
                    opened.close()
            except OSError as also:
                faults.append(later.fault(also))
        raise StartError("\n".join(faults)) from error

"""Every request of the data plane enters here: authenticate, read, admit, run its Exchange.

What follows from a head that its connection has brought before is not worked out again
(`known_caller.py`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Protocol

from proxy.core.dialects.contract import Dialect, KeptPath
from proxy.core.dialects.registry import BY_ENDPOINT, kept_at, spoken_by
from proxy.core.errors import ProxyError, unavailable
from proxy.core.http.headers import CREDENTIALS, first
from proxy.core.http.health import Health
from proxy.core.http.unserved import asked, unknown_path
from proxy.core.ids import uuid7
from proxy.core.limits.rules import Rules
from proxy.core.model_names import MODELS, model_of_path
from proxy.dataplane.admission import Admission, Caller, refuse_overload
from proxy.dataplane.connection import Request
from proxy.dataplane.cors import answer_page
from proxy.dataplane.endpoints.kept import KeptRequests
from proxy.dataplane.endpoints.models import Models
from proxy.dataplane.endpoints.passthrough import PassedRequests
from proxy.dataplane.endpoints.usage import RECORDS, USAGE_ROUTES, OwnUsage
from proxy.dataplane.exchange import Exchange
from proxy.dataplane.known_caller import KnownCaller
from proxy.dataplane.passed import Found
from proxy.dataplane.request_body import BodyMemory, encoding_of
from proxy.dataplane.request_log import refusal_line
from proxy.dataplane.routes import HEALTH, allow, canonical, is_page, route_label
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.tenants.ring import KeyRefused, KeyUnknown, Tenant

ID_BYTES = 10  # of randomness in a UUIDv7
IDS_AT_ONCE = 256


class Gateway:
    """Handles one request at a time of each connection."""

    def __init__(
        self,
        services: Services,
        snapshot: Snapshot,
        health: Health,
        pages: Callable[[Services, OwnUsage], Pages] | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._services = services
        self._health = health
        self._models = Models(services)
        self._admission = Admission(services, self._rules)
        self._own_usage = OwnUsage(services)
        self._pages = None if pages is None else pages(services, self._own_usage)
        self._noise = _Noise()
        self._passthrough = PassedRequests(services, self._admission, self._rules)
        self._kept_requests = KeptRequests(services, self._admission, self._rules)

    def use(self, snapshot: Snapshot) -> None:
        """What a reload replaces: the config of the requests that come from now on."""
        self.snapshot = snapshot

    async def handle(self, request: Request) -> None:
        """Answers the request. What is refused is counted, and told with an id to quote once we
        know who asks."""
        now_ms = self._services.now_ms()
        known = request.head.known
        if type(known) is KnownCaller and known.holds(self.snapshot, self._services.keys, now_ms):
            label = known.endpoint
            caller = Caller(self.snapshot, label, known.dialect, known)
        else:
            known = None
            path = request.target.partition("?")[0]
            as_it_is = path in HEALTH or (self._pages is not None and is_page(path))
            route = path if as_it_is else canonical(path)
            label = route_label(route, path)
            caller = Caller(
                self.snapshot, route, BY_ENDPOINT.get(route) or spoken_by(request.headers)
            )
        try:
            if known is None:
                await self._route(request, path, route, caller)
            else:
                known.read(request)
                caller.identified(known.tenant, uuid7(now_ms, self._noise.take()), now_ms)
                self._refuse_all(caller)
                await self._exchange(request, caller, known.tenant, known=True)
        except ProxyError as error:
            self._refuse(request, caller, error)
        finally:
            status = request.connection.status
            self._services.metrics.http(label, status if status is not None else 499)

    async def _route(self, request: Request, path: str, route: str, caller: Caller) -> None:
        if self._pages is not None and is_page(route):
            await self._page(request, caller, self._pages)
            return
        if self.snapshot.origins and answer_page(request, self.snapshot.origins):
            return
        if route in HEALTH:
            allow(request, "GET", "HEAD")
            status, body = self._health.answer(route)
            request.connection.answer(
                request, status, [(b"Content-Type", b"application/json")], body
            )
            return
        self._services.via.refuse_own(request.headers)
        if route in BY_ENDPOINT:
            _refuse_upgrade(request)
            allow(request, "POST")
            tenant = self._admit(request, caller)
            await self._exchange(request, caller, tenant)
        elif (kept := kept_at(route)) is not None:
            await self._kept(request, caller, kept)
        elif route == MODELS or model_of_path(route) is not None:
            allow(request, "GET")
            tenant = self._admit(request, caller)
            with self._services.inflight:
                await self._models.answer(
                    request, caller.snapshot, tenant, route, caller.id, caller.dialect
                )
        elif route in USAGE_ROUTES or route.startswith(RECORDS):
            allow(request, "GET")
            tenant = self._admit(request, caller)
            await self._own_usage.answer(request, caller.snapshot, tenant, route, caller.id)
        elif (found := caller.snapshot.passed.find(request.method, path)) is not None:
            tenant = self._admit(request, caller)
            await self._pass(request, caller, tenant, found)
        else:
            # So that the log and `limit refusals` say who asked; without a credential nobody did.
            self._identify(request, caller)
            raise unknown_path(request.method, request.target)

    async def _page(self, request: Request, caller: Caller, pages: Pages) -> None:
        """A page in a browser. Refusals are pages too, and counted like others."""
        try:
            self._refuse_all(caller)
            await pages.answer(request, caller.snapshot)
        except ProxyError as error:
            if isinstance(error, KeyRefused):
                now_ms = self._services.now_ms()
                caller.identified(error.tenant, uuid7(now_ms, self._noise.take()), now_ms)
            pages.refuse(request, error, caller.snapshot)
            self._count_refusal(request, caller, error)

    def _identify(self, request: Request, caller: Caller) -> None:
        """Who asks, if the request says so. Raises 401 or 400 for a credential that is none of
        ours."""
        if any(first(request.headers, name) is not None for name in CREDENTIALS):
            self._authenticate(request, caller)

    def _authenticate(self, request: Request, caller: Caller) -> Tenant:
        now_ms = self._services.now_ms()
        id = uuid7(now_ms, self._noise.take())
        try:
            tenant = self._services.keys.authenticate(
                request.headers, now_ms, caller.snapshot.forwards
            )
        except KeyRefused as refused:
            caller.identified(refused.tenant, id, now_ms)
            raise
        except KeyUnknown:
            self._services.refuse_if_unsure()
            raise
        caller.identified(tenant, id, now_ms)
        return tenant

    def _admit(self, request: Request, caller: Caller) -> Tenant:
        """Who asks, and whether the process takes requests at all."""
        tenant = self._authenticate(request, caller)
        self._refuse_all(caller)
        return tenant

    def _refuse_all(self, caller: Caller) -> None:
        """Raises ProxyError 503 while the process takes no requests, or no more of them."""
        if self._services.draining:
            raise unavailable(
                "draining",
                "This process is stopping; try again, another one will take the request.",
            )
        refuse_overload(self._services, caller.snapshot)

    async def _kept(
        self, request: Request, caller: Caller, found: tuple[Dialect, KeptPath]
    ) -> None:
        """An answer that its vendor keeps: read, cancelled or deleted."""
        dialect, kept = found
        caller.asks(dialect, kept.endpoint)
        allow(request, *kept.methods)
        tenant = self._admit(request, caller)
        await self._exchange(request, caller, tenant, kept)

    async def _exchange(
        self,
        request: Request,
        caller: Caller,
        tenant: Tenant,
        kept: KeptPath | None = None,
        *,
        known: bool = False,
    ) -> None:
        services, admission, metrics = self._services, self._admission, self._services.metrics
        metrics.inflight(1, 0)
        services.asking.add(caller)
        bodies = caller.snapshot.settings.bodies
        memory = BodyMemory(
            services.bodies,
            tenant.key_id,
            total_max_bytes=bodies.total_max_bytes,
            body_max_bytes=bodies.max_bytes,
        )
        streams = 0
        try:
            body = admission.at_hand(request, caller, memory) if known else None
            at_hand = body is not None
            if body is None and kept is not None and request.arrived:
                body = b""
            elif body is None:
                body = await admission.arrived(request, caller, tenant, memory)
                if kept is None and not known:
                    self._remember(request, caller, tenant)
            with services.inflight:
                if at_hand:
                    admitted = admission.admit_at_once(request, caller, tenant, memory, body)
                elif kept is None:
                    admitted = await admission.admit(request, caller, tenant, memory, body)
                else:
                    admitted = await self._kept_requests.admit(request, caller, tenant, kept, body)
                del body  # else it would be held until its answer ends
                if admitted.opened.stream:
                    streams = 1
                    metrics.inflight(0, 1)
                exchange = Exchange(services, admitted)
                caller.admitted(exchange)
                await exchange.run()
        finally:
            memory.release()
            services.asking.discard(caller)
            metrics.inflight(-1, -streams)

    def _remember(self, request: Request, caller: Caller, tenant: Tenant) -> None:
        """Keeps what the head of this request was found to say, for the next one with the same.

        It holds for none where the config or a key changed while the body came: `caller.snapshot`
        is an earlier one then.
        """
        if request.head.key is not None and encoding_of(request) is None:
            known = KnownCaller(
                request,
                caller.snapshot,
                self._services.keys,
                tenant,
                caller.endpoint,
                caller.dialect,
            )
            request.head.remember(known)

    async def _pass(self, request: Request, caller: Caller, tenant: Tenant, found: Found) -> None:
        """A path of `passthrough`. A body that is read first takes no place while it arrives; any
        other is sent on as it comes."""
        services = self._services
        services.metrics.inflight(1, 0)
        services.asking.add(caller)
        bodies = caller.snapshot.settings.bodies
        memory = BodyMemory(
            services.bodies,
            tenant.key_id,
            total_max_bytes=bodies.total_max_bytes,
            body_max_bytes=bodies.max_bytes,
        )
        uploads = False
        try:
            admitted = await self._passthrough.admit(request, caller, tenant, memory, found)
            refuse_overload(services, caller.snapshot)
            if admitted.upload is not None:
                self._take_upload_place(caller, tenant)
                uploads = True
            with services.inflight:
                exchange = Exchange(services, admitted)
                caller.admitted(exchange)
                await exchange.run()
        finally:
            if uploads:
                services.uploads.give_back(tenant.key_id)
            memory.release()
            services.asking.discard(caller)
            services.metrics.inflight(-1, 0)

    def _take_upload_place(self, caller: Caller, tenant: Tenant) -> None:
        """A body may be as slow as `bodies.rate_min` allows, and takes a place among `inflight_max`
        all the while. Raises ProxyError 503 where one key has so many."""
        if not self._services.uploads.take(tenant.key_id, caller.snapshot.settings.inflight_max):
            raise unavailable(
                "overloaded",
                "This key sends as many uploads at once as one key may (a quarter of inflight_max)."
                " Try again when one of them has ended.",
            )

    def _rules(self) -> Rules:
        return self.snapshot.rules

    def _refuse(self, request: Request, caller: Caller, error: ProxyError) -> None:
        headers: list[tuple[bytes, bytes]] = []
        if caller.tenant is None and error.status != 401:
            # Refused before anybody was asked who it is, such as a method that is not offered.
            with contextlib.suppress(ProxyError):
                self._identify(request, caller)
        tenant = caller.tenant
        if tenant is not None:
            headers.append((b"x-tollkeeper-id", caller.id.encode()))
            if caller.exchange is not None:
                headers += caller.exchange.limit_fields
            headers.append((caller.dialect.request_id_field, caller.id.encode()))
            error.told_to(caller.id, caller.snapshot.settings.support)
        request.connection.refuse(request, error, headers, caller.dialect)
        if caller.exchange is not None and caller.exchange.booked:
            return  # it reached an upstream, so it has a record and a log line of its own
        self._count_refusal(request, caller, error)

    def _count_refusal(self, request: Request, caller: Caller, error: ProxyError) -> None:
        tenant = caller.tenant
        team, key_id = (None, None) if tenant is None else (tenant.team, tenant.key_id)
        if tenant is not None:
            self._services.recorder.refused(
                key_id, error.code, caller.started_at_ms, team=team, limit_id=error.limit
            )
        self._services.metrics.refused(team, key_id, error.code, error.limit)
        what = asked(request.method, request.target) if error.code == "unknown_path" else None
        refusal_line(
            caller.snapshot.settings.log.requests,
            id=caller.id or None,
            team=team,
            key_id=key_id,
            status=error.status,
            code=error.code,
            asked=what,
            limit=error.limit,
        )

    def refused_unread(self, error: ProxyError) -> None:
        """Counts a request that the listener refused before it could be handed on."""
        self._services.metrics.http("other", error.status)
        self._services.metrics.refused(None, None, error.code)
        refusal_line(
            self.snapshot.settings.log.requests,
            id=None,
            team=None,
            key_id=None,
            status=error.status,
            code=error.code,
        )


class Pages(Protocol):
    """The pages in a browser, which are loaded only where the config has them."""

    async def answer(self, request: Request, snapshot: Snapshot) -> None: ...
    def refuse(self, request: Request, error: ProxyError, snapshot: Snapshot) -> None: ...


class _Noise:
    """Random bytes for ids, fetched from the system for many at once: a call for each request costs
    more than all else of its id."""

    def __init__(self) -> None:
        self._left: Iterator[bytes] = iter(())

    def take(self) -> bytes:
        """As many as one id takes; never the same twice."""
        found = next(self._left, None)
        if found is None:
            fresh = os.urandom(IDS_AT_ONCE * ID_BYTES)
            self._left = iter([fresh[at : at + ID_BYTES] for at in range(0, len(fresh), ID_BYTES)])
            found = next(self._left)
        return found


def _refuse_upgrade(request: Request) -> None:
    """426 to a WebSocket handshake, before anything else is asked: any other answer keeps clients
    trying, or ends their turn, where this one makes them POST at once."""
    upgrade = first(request.headers, b"upgrade")
    if request.method == "GET" and upgrade is not None and b"websocket" in upgrade.lower():
        message = "This proxy speaks HTTP on this path, not WebSocket: POST the request instead."
        raise ProxyError(
            426,
            "invalid_request_error",
            "websocket_not_offered",
            message,
            headers=(("Upgrade", "websocket"),),
            close=True,
        )

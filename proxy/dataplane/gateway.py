"""Every request of the data plane enters here: authenticate, read, decide where it goes, start its
Exchange and wait for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import monotonic
from typing import TypeVar, TypeVarTuple

from proxy.config.settings import Settings
from proxy.core.dialects.contract import Call, Dialect
from proxy.core.dialects.registry import BY_ENDPOINT, DEFAULT
from proxy.core.dialects.request_fields import forbid_fields
from proxy.core.entries import Opened
from proxy.core.errors import ProxyError, invalid_request, too_large, unavailable
from proxy.core.http.content_coding import decode_body
from proxy.core.http.headers import CREDENTIALS, first, values
from proxy.core.http.health import Health
from proxy.core.http.media_type import check_json
from proxy.core.http.unserved import asked, family, unknown_path
from proxy.core.ids import uuid7
from proxy.core.limits.rules import Rules
from proxy.core.model_names import MODELS, model_of_path
from proxy.dataplane.attribution import attribute
from proxy.dataplane.connection import Request
from proxy.dataplane.endpoints.models import Models
from proxy.dataplane.endpoints.usage import RECORDS, OwnUsage
from proxy.dataplane.exchange import Exchange, Payload
from proxy.dataplane.hold import Hold, refuse_used_up
from proxy.dataplane.request_body import BodyMemory, read_body
from proxy.dataplane.request_log import refusal_line
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.upstream import Upstream
from proxy.tenants.ring import Tenant

ID_BYTES = 10  # of randomness in a UUIDv7
LARGE_BYTES = 256 * 1024  # of a body: reading it takes up to four milliseconds
SMALL_BYTES = 16 * 1024  # of a body: reading it costs no more than asking first whether it may
TIER_CHARS_MAX = (
    64  # of one that is asked for: it is kept in the journal, whose entries have a bounded size
)
Args = TypeVarTuple("Args")
Result = TypeVar("Result")


class Gateway:
    """Handles one request at a time of each connection. `snapshot` is replaced as a whole by a
    reload."""

    def __init__(self, services: Services, snapshot: Snapshot, health: Health) -> None:
        self.snapshot = snapshot
        self._services = services
        self._health = health
        self._models = Models(services)
        self._one_aside = asyncio.Semaphore(1)
        self._own_usage = OwnUsage(services)

    async def handle(self, request: Request) -> None:
        """Answers the request. What is refused is counted, and told with an id to quote once we
        know who asks."""
        path = request.target.partition("?")[0]
        route = path if path in ("/healthz", "/readyz") else _canonical(path)
        caller = _Caller(self.snapshot, BY_ENDPOINT.get(route))
        try:
            await self._route(request, route, caller)
        except ProxyError as error:
            self._refuse(request, caller, error)
        finally:
            status = request.connection.status
            self._services.metrics.http(
                _route_label(route, path), status if status is not None else 499
            )

    async def _route(self, request: Request, route: str, caller: _Caller) -> None:
        if route in ("/healthz", "/readyz"):
            _allow(request, "GET", "HEAD")
            status, body = self._health.answer(route)
            request.connection.answer(
                request, status, [(b"Content-Type", b"application/json")], body
            )
            return
        self._services.via.refuse_own(request.headers)
        if caller.dialect is not None:
            _allow(request, "POST")
            tenant = self._admit(request, caller)
            await self._exchange(request, route, caller, caller.dialect, tenant)
        elif route == MODELS or model_of_path(route) is not None:
            _allow(request, "GET")
            tenant = self._admit(request, caller)
            self._services.inflight += 1
            try:
                await self._models.answer(request, caller.snapshot, tenant, route, caller.id)
            finally:
                self._services.inflight -= 1
        elif route == "/v1/usage" or route.startswith(RECORDS):
            _allow(request, "GET")
            tenant = self._admit(request, caller)
            await self._own_usage.answer(request, caller.snapshot, tenant, route, caller.id)
        else:
            self._identify(
                request, caller
            )  # so that the log and `limit refusals` say who asked; without a credential nobody did
            raise unknown_path(request.method, request.target)

    def _identify(self, request: Request, caller: _Caller) -> None:
        """Who asks, if the request says so. Raises 401 or 400 for a credential that is none of
        ours."""
        if any(first(request.headers, name) is not None for name in CREDENTIALS):
            self._authenticate(request, caller)

    def _authenticate(self, request: Request, caller: _Caller) -> Tenant:
        now_ms = self._services.now_ms()
        caller.tenant = self._services.keys.authenticate(
            request.headers, now_ms, caller.snapshot.forwards
        )
        caller.id = uuid7(now_ms, os.urandom(ID_BYTES))
        caller.started_at_ms = now_ms
        return caller.tenant

    def _admit(self, request: Request, caller: _Caller) -> Tenant:
        """Who asks, and whether the process takes requests at all."""
        tenant = self._authenticate(request, caller)
        if self._services.draining:
            raise unavailable(
                "draining",
                "This process is stopping; try again, another one will take the request.",
            )
        self._refuse_overload(caller.snapshot)
        return tenant

    def _refuse_overload(self, snapshot: Snapshot) -> None:
        if self._services.inflight >= snapshot.settings.inflight_max:
            raise unavailable(
                "overloaded",
                "The proxy has as many requests in flight as it may (inflight_max). Try again shortly.",
            )

    async def _refuse_used_up(self, caller: _Caller, dialect: Dialect, tenant: Tenant) -> None:
        """Whoever is beyond a limit is told so before its body costs anything."""
        now_ms = self._services.now_ms()
        await refuse_used_up(
            self._services.quota,
            caller.snapshot,
            dialect,
            tenant.key_id,
            tenant.team,
            caller.started_at_ms,
            now_ms,
        )

    async def _exchange(
        self, request: Request, endpoint: str, caller: _Caller, dialect: Dialect, tenant: Tenant
    ) -> None:
        services = self._services
        services.metrics.inflight(1, 0)
        bodies = caller.snapshot.settings.bodies
        memory = BodyMemory(
            services,
            tenant.key_id,
            total_max_bytes=bodies.total_max_bytes,
            body_max_bytes=bodies.max_bytes,
        )
        inflight = streams = 0
        try:
            body = await self._arrived(request, caller, dialect, tenant, memory)
            inflight = 1
            services.inflight += 1
            exchange = await self._prepare(request, endpoint, caller, dialect, tenant, memory, body)
            streams = 1 if exchange.stream else 0
            services.metrics.inflight(0, streams)
            try:
                await exchange.run()
            finally:
                caller.booked = exchange.booked
                caller.fields = exchange.limit_fields
        finally:
            memory.release()
            services.inflight -= inflight
            services.metrics.inflight(-1, -streams)

    async def _arrived(
        self,
        request: Request,
        caller: _Caller,
        dialect: Dialect,
        tenant: Tenant,
        memory: BodyMemory,
    ) -> bytes:
        """The body, once it is here. Until then the request is not in flight: sending slowly takes
        no place of others."""
        check_json(request.headers)
        length = request.content_length
        if length is None or length > SMALL_BYTES or _encoding(request) is not None:
            await self._refuse_used_up(caller, dialect, tenant)
        self._services.arriving += 1
        try:
            body = await self._read(request, caller.snapshot.settings, memory)
        finally:
            self._services.arriving -= 1
        self._refuse_overload(caller.snapshot)
        return body

    async def _prepare(
        self,
        request: Request,
        endpoint: str,
        caller: _Caller,
        dialect: Dialect,
        tenant: Tenant,
        memory: BodyMemory,
        body: bytes,
    ) -> Exchange:
        """Asks everything that may refuse the request, before anything is opened. Returns with the
        body handed over."""
        began_s = monotonic()
        encoding = _encoding(request)
        bytes_max = caller.snapshot.settings.bodies.max_bytes
        beside = encoding is not None or len(body) > LARGE_BYTES
        if beside:
            async with self._one_aside:
                # What went before in the line may have used the limits up.
                await self._refuse_used_up(caller, dialect, tenant)
                readable, call = await asyncio.to_thread(
                    _understood, dialect, endpoint, body, encoding, bytes_max
                )
        else:
            readable, call = _understood(dialect, endpoint, body, encoding, bytes_max)
        if readable is not body:
            memory.take(len(readable))  # both are held: this one to read, the other to send
        upstream = _upstream(caller.snapshot, tenant, call)
        caller.snapshot.check_priced(upstream, call.model, caller.started_at_ms)
        payload = self._payload(request, dialect, upstream, call, body, tenant.key_id, memory)
        asked = call.include_usage is True or payload.plain is not None
        counting = self._services.counter.begin(
            caller.snapshot, upstream, dialect, call, asked=asked
        )
        images = None
        if caller.snapshot.prices.counts_images(upstream.name):
            images = await self._aside(beside, dialect.count_images, readable)
        opened = self._opened(
            request,
            caller,
            dialect,
            tenant,
            call,
            upstream,
            len(body),
            counting.prompt(readable),
            images,
        )
        hold = Hold(
            self._services.quota, caller.snapshot, dialect, opened, call, counting.output_expected, self._services.now_ms, self._rules,
            self._services.served,
            keeps_caps=self._services.counter.calibration.keeps_caps(upstream.name, call.model),
        )  # fmt: skip
        self._services.metrics.overhead("admit", monotonic() - began_s)
        return Exchange(
            self._services,
            caller.snapshot,
            dialect,
            upstream,
            request,
            opened,
            counting,
            hold,
            payload,
        )

    async def _aside(self, beside: bool, work: Callable[[*Args], Result], *args: *Args) -> Result:
        """What may hold the loop up for long is done in a thread, one at a time.

        More than one at a time would not be faster: they would only take turns with the loop.
        """
        if not beside:
            return work(*args)
        async with self._one_aside:
            return await asyncio.to_thread(work, *args)

    async def _read(self, request: Request, settings: Settings, memory: BodyMemory) -> bytes:
        length = request.content_length
        if length is None:
            if not values(request.headers, b"transfer-encoding"):
                message = "A body is required: send Content-Length, or chunked transfer coding."
                raise ProxyError(411, "invalid_request_error", "length_required", message)
        elif length > settings.bodies.max_bytes:
            raise too_large(settings.bodies.max_bytes)
        request.confirm_continue()
        return await read_body(
            request.body,
            bytes_max=settings.bodies.max_bytes,
            idle_s=settings.timeouts.body_idle_s,
            rate_min_bytes_s=settings.bodies.rate_min_bytes,
            arrived=memory.take,
        )

    def _payload(
        self,
        request: Request,
        dialect: Dialect,
        upstream: Upstream,
        call: Call,
        body: bytes,
        key_id: str,
        memory: BodyMemory,
    ) -> Payload:
        head = upstream.head(
            request.method, request.target, request.headers, len(body), via=self._services.via.line
        )
        plain = head + body
        spliced = self._spliced(request, dialect, upstream, call, body, key_id)
        if spliced is None:
            return Payload(plain, None, memory)
        memory.take(len(spliced))  # both are held until the vendor has answered
        return Payload(spliced, plain, memory)

    def _spliced(
        self,
        request: Request,
        dialect: Dialect,
        upstream: Upstream,
        call: Call,
        body: bytes,
        key_id: str,
    ) -> bytes | None:
        """The request that also asks for the stream's usage, if the upstream's config wants that
        and the body can say it."""
        ask = dialect.ask_for_usage
        if (
            ask is None
            or upstream.settings.stream_usage != "inject"
            or values(request.headers, b"content-encoding")
        ):
            return None
        if not self._services.usage_refusals.may_ask(
            upstream.name, call.model, key_id, monotonic()
        ):
            return None
        spliced = ask(body, call)
        if spliced is None:
            return None
        return (
            upstream.head(
                request.method,
                request.target,
                request.headers,
                len(spliced),
                via=self._services.via.line,
                spliced=True,
            )
            + spliced
        )

    def _opened(
        self,
        request: Request,
        caller: _Caller,
        dialect: Dialect,
        tenant: Tenant,
        call: Call,
        upstream: Upstream,
        body_bytes: int,
        input_estimate: int,
        images: int | None,
    ) -> Opened:
        end_user, tags = attribute(caller.snapshot.settings.attribution, request.headers, call)
        retry = first(request.headers, b"x-stainless-retry-count")
        return Opened(
            id=caller.id,
            started_at_ms=caller.started_at_ms,
            key_id=tenant.key_id,
            team=tenant.team,
            labels=tenant.labels,
            end_user=self._services.end_users.hash(end_user),
            tags=tags,
            endpoint=call.endpoint,
            dialect=dialect.name,
            upstream=upstream.name,
            upstream_account=upstream.account,
            model_requested=call.model,
            stream=call.stream,
            client_retry_count=int(retry)
            if retry is not None and retry.isdigit() and len(retry) < 4
            else 0,
            bytes_in=body_bytes,
            input_estimate=input_estimate,
            tier_asked=None if call.service_tier is None else call.service_tier[:TIER_CHARS_MAX],
            images=images,
        )

    def _rules(self) -> Rules:
        return self.snapshot.rules

    def _refuse(self, request: Request, caller: _Caller, error: ProxyError) -> None:
        headers: list[tuple[bytes, bytes]] = []
        tenant = caller.tenant
        if tenant is not None:
            headers.append((b"x-tollkeeper-id", caller.id.encode()))
            headers += caller.fields
            support = caller.snapshot.settings.support
            whom = f" Ask {support}." if support else ""
            error.message = f"{error.message}{whom} (Request id, if you ask for help: {caller.id})"
        dialect = DEFAULT if caller.dialect is None else caller.dialect
        request.connection.refuse(request, error, headers, dialect)
        if caller.booked:
            return  # it reached an upstream, so it has a record and a log line of its own
        team, key_id = (None, None) if tenant is None else (tenant.team, tenant.key_id)
        if tenant is not None:
            self._services.recorder.refused(tenant.key_id, error.code, caller.started_at_ms)
        self._services.metrics.refused(team, key_id, error.code)
        what = asked(request.method, request.target) if error.code == "unknown_path" else None
        refusal_line(
            caller.snapshot.settings.log.requests,
            id=caller.id or None,
            team=team,
            key_id=key_id,
            status=error.status,
            code=error.code,
            asked=what,
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


class _Caller:
    """Who asks, as far as it is known yet."""

    __slots__ = ("booked", "dialect", "fields", "id", "snapshot", "started_at_ms", "tenant")

    def __init__(self, snapshot: Snapshot, dialect: Dialect | None) -> None:
        self.dialect = dialect  # None: the path is not metered
        self.snapshot = snapshot  # the config of this whole request, whatever is reloaded meanwhile
        self.tenant: Tenant | None = None
        self.id = ""
        self.started_at_ms = 0
        self.fields: list[tuple[bytes, bytes]] = []  # how its limits stand, if it was let through
        self.booked = False  # something was sent upstream, and there is a record of it


def _upstream(snapshot: Snapshot, tenant: Tenant, call: Call) -> Upstream:
    """Where the call goes, if this caller may make it. Raises ProxyError 401, 403, 404 or 503."""
    upstream = snapshot.upstream_for(call.model)
    if upstream is None:
        raise snapshot.no_route(call.model)
    if not tenant.allows(call.model):
        message = (
            f"This key may not call {call.model[:100]!r}; it may call: {', '.join(tenant.models)}."
        )
        raise ProxyError(403, "invalid_request_error", "model_not_allowed", message, param="model")
    forbid_fields(call.steering, upstream.settings.allow_fields)
    snapshot.check_usable(tenant, upstream)
    return upstream


def _encoding(request: Request) -> str | None:
    """The request's content coding; None where none is named."""
    encodings = values(request.headers, b"content-encoding")
    if len(encodings) > 1:
        raise invalid_request("Content-Encoding is given more than once.")
    return encodings[0].decode("latin-1") if encodings else None


def _understood(
    dialect: Dialect, endpoint: str, body: bytes, encoding: str | None, bytes_max: int
) -> tuple[bytes, Call]:
    """The body as the upstream will read it, and the call it makes."""
    readable = body if encoding is None else decode_body(encoding, body, bytes_max)
    return readable, dialect.read_call(endpoint, readable)


def _canonical(path: str) -> str:
    """The path with its /v1, which clients may leave out. Compared byte for byte: what is encoded
    or dotted is simply unknown."""
    return path if path.startswith("/v1/") else f"/v1{path}"


def _route_label(route: str, path: str) -> str:
    """A metric label from a bounded set."""
    if route in BY_ENDPOINT or route in (MODELS, "/v1/usage", "/healthz", "/readyz"):
        return route
    if route.startswith(RECORDS):
        return f"{RECORDS}{{id}}"
    return family(path) if model_of_path(route) is None else f"{MODELS}/{{id}}"


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        message = f"{request.method[:20]} is not offered here; use {' or '.join(methods)}."
        raise ProxyError(
            405,
            "invalid_request_error",
            "method_not_allowed",
            message,
            headers=(("Allow", ", ".join(methods)),),
        )

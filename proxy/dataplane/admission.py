"""What may refuse a metered request before it takes anything of its limits (`hold.py` asks those).

`Admission.arrived` reads the body, `Admission.admit` finds out what it asks for, where it goes and
what it would take. `at_hand` and `admit_at_once` are the same two for small bodies, without a wait.
What comes out is one `Admitted`: all that the exchange and the relay need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol, TypeVar, TypeVarTuple

import msgspec

from proxy.core.dialects.contract import Call, Dialect
from proxy.core.dialects.renaming import renamed
from proxy.core.dialects.request_fields import check_query, forbid_fields
from proxy.core.entries import Opened
from proxy.core.errors import ProxyError, too_large, unavailable
from proxy.core.http.headers import first, values
from proxy.core.http.media_type import check_json
from proxy.core.limits.rules import Rules
from proxy.core.usage import ChargeClass
from proxy.dataplane.attribution import names_nobody
from proxy.dataplane.connection import Request
from proxy.dataplane.counting.exchange_count import ExchangeCount, begin_count
from proxy.dataplane.counting.uncounted import Uncounted
from proxy.dataplane.hold import Hold, refuse_used_up
from proxy.dataplane.kept_answers import check_items
from proxy.dataplane.known_caller import KnownCaller, Way
from proxy.dataplane.large_bodies import OWN_BYTES
from proxy.dataplane.named_objects import Claimant, check_named
from proxy.dataplane.outgoing import payload_of
from proxy.dataplane.request_body import BodyMemory, Payload, encoding_of, whole_body
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upload import Upload
from proxy.dataplane.upstream.upstream import Upstream
from proxy.tenants.ring import Tenant

LARGE_BYTES = 256 * 1024  # of a body: reading it takes up to four milliseconds
SMALL_BYTES = 16 * 1024  # of a body: reading it costs no more than asking first whether it may
# Of a tier that is asked for: it is kept in the journal, whose entries have a bounded size.
TIER_CHARS_MAX = 64
Args = TypeVarTuple("Args")
Result = TypeVar("Result")


class Answering(Protocol):
    """An exchange, for who has to tell its client of an error.

    `booked`: something was sent upstream, and there is a record of it. `limit_fields`: how its
    limits stood when it was let through.
    """

    @property
    def booked(self) -> bool: ...
    @property
    def limit_fields(self) -> Sequence[tuple[bytes, bytes]]: ...


class Caller:
    """Who asks, as far as it is known yet."""

    __slots__ = (
        "dialect",
        "endpoint",
        "exchange",
        "id",
        "known",
        "snapshot",
        "started_at_ms",
        "tenant",
    )

    def __init__(
        self, snapshot: Snapshot, endpoint: str, dialect: Dialect, known: KnownCaller | None = None
    ) -> None:
        self.known = known  # under this snapshot; its head may keep what holds under a later one
        self.endpoint = endpoint
        self.dialect = dialect  # in which it is told of errors
        self.snapshot = snapshot  # the config of this whole request, whatever is reloaded meanwhile
        self.tenant: Tenant | None = None
        self.id = ""
        self.started_at_ms = 0
        self.exchange: Answering | None = None  # once it is admitted

    def identified(self, tenant: Tenant, id: str, now_ms: int) -> None:
        """The credential is this tenant's; `id` is the request's from now on."""
        self.tenant = tenant
        self.id = id
        self.started_at_ms = now_ms

    def asks(self, dialect: Dialect, endpoint: str) -> None:
        """The path is found to be another one's than its first look said."""
        self.dialect = dialect
        self.endpoint = endpoint

    def admitted(self, exchange: Answering) -> None:
        """Its request is answered by this exchange, unless that raises an error to tell it of."""
        self.exchange = exchange


class Admitted(msgspec.Struct, frozen=True):
    """One request that may be sent. Its snapshot is the config that it was admitted under, whatever
    is reloaded meanwhile."""

    snapshot: Snapshot
    dialect: Dialect
    upstream: Upstream
    request: Request
    call: Call
    opened: Opened
    counting: ExchangeCount | Uncounted
    hold: Hold
    payload: Payload
    upload: Upload | None = None  # the body, where it is not in the payload


class Admission:
    """Admits requests of tenants who are known. `rules`: the limits in effect, which a reload
    changes."""

    def __init__(self, services: Services, rules: Callable[[], Rules]) -> None:
        self._services = services
        self._rules = rules
        self._one_aside = asyncio.Semaphore(1)

    async def arrived(
        self,
        request: Request,
        caller: Caller,
        tenant: Tenant,
        memory: BodyMemory,
    ) -> bytes:
        """The body, once it is here. Until then the request is not in flight: sending slowly takes
        no place of others."""
        check_json(request.headers)
        length, settings = request.content_length, caller.snapshot.settings
        if length is None or length > SMALL_BYTES or encoding_of(request) is not None:
            await self.refuse_used_up(caller, tenant)
        if length is None:
            if not values(request.headers, b"transfer-encoding"):
                message = "A body is required: send Content-Length, or chunked transfer coding."
                raise ProxyError(411, "invalid_request_error", "length_required", message)
        elif length > settings.bodies.max_bytes:
            raise too_large(settings.bodies.max_bytes)
        body = request.here()
        if body is not None:
            memory.take(len(body))
            if len(body) > settings.bodies.max_bytes:
                raise too_large(settings.bodies.max_bytes)
        else:
            with self._services.arriving:
                body = await whole_body(request, settings, memory)
        refuse_overload(self._services, caller.snapshot)
        return body

    def at_hand(self, request: Request, caller: Caller, memory: BodyMemory) -> bytes | None:
        """The body of a request whose head was found in order before, if it is small and here."""
        length, bodies = request.content_length, caller.snapshot.settings.bodies
        if length is None or length > SMALL_BYTES or length > bodies.max_bytes:
            return None
        body = request.here()
        if body is not None:
            memory.take(len(body))
        return body

    def admit_at_once(
        self, request: Request, caller: Caller, tenant: Tenant, memory: BodyMemory, body: bytes
    ) -> Admitted:
        """Asks what a body decides that is small and has no coding, so that nothing waits."""
        began_s = monotonic()
        call = caller.dialect.read_call(caller.endpoint, body)
        way = self._way(request, caller, tenant, call)
        names_kept = call.continues or call.items
        kept_tokens = self._continued(call, tenant, way.upstream) if names_kept else 0
        if way.has_owners:
            check_named(body, self._claimant(tenant, way.upstream))
        images = caller.dialect.count_images(body) if way.counts_images else None
        return self._admitted(
            request, caller, tenant, memory, body, body, call, way, images, kept_tokens, began_s
        )

    async def admit(
        self, request: Request, caller: Caller, tenant: Tenant, memory: BodyMemory, body: bytes
    ) -> Admitted:
        """Asks what the body decides. Returns with the body handed over.

        What may hold the loop up for long is done in a thread, one at a time: more would not be
        faster, they would only take turns with the loop.
        """
        encoding = encoding_of(request)
        if encoding is None and len(body) <= LARGE_BYTES:
            return self.admit_at_once(request, caller, tenant, memory, body)
        began_s = monotonic()
        dialect, settings = caller.dialect, caller.snapshot.settings
        async with self._one_aside:
            # What went before in the line may have used the limits up.
            await self.refuse_used_up(caller, tenant)
            readable, call, images = await asyncio.to_thread(
                self._services.large_bodies.call,
                dialect,
                caller.endpoint,
                body,
                encoding,
                settings.bodies.max_bytes,
            )
        if readable is not body:
            memory.take(len(readable))  # both are held: this one to read, the other to send
        way = self._way(request, caller, tenant, call)
        kept_tokens = self._continued(call, tenant, way.upstream)
        if way.has_owners:
            await self.aside(check_named, readable, self._claimant(tenant, way.upstream))
        if not way.counts_images:
            images = None
        elif len(readable) <= OWN_BYTES:
            images = await self.aside(dialect.count_images, readable)
        return self._admitted(
            request, caller, tenant, memory, body, readable, call, way, images, kept_tokens, began_s
        )

    def _admitted(
        self,
        request: Request,
        caller: Caller,
        tenant: Tenant,
        memory: BodyMemory,
        body: bytes,
        readable: bytes,
        call: Call,
        way: Way,
        images: int | None,
        kept_tokens: int,
        began_s: float,
    ) -> Admitted:
        services, snapshot, dialect = self._services, caller.snapshot, caller.dialect
        upstream, alias, sent_bytes = way.upstream, call.model if way.sent else None, len(body)
        if way.sent is not None:
            # From here on it is the request that a client would make who knows the real name.
            body, call = renamed(readable, call, way.sent)
            readable = body
        payload = payload_of(services, request, dialect, way, call, body, tenant.key_id, memory)
        asked = call.include_usage is True or payload.plain is not None
        counting = begin_count(services.counter, snapshot, upstream, dialect, call, asked=asked)
        estimate = 0 if call.free else counting.prompt(readable) + kept_tokens
        opened = self.opened(
            request, caller, tenant, call, upstream, sent_bytes, estimate, images, alias
        )
        expected = counting.output_expected
        hold = Hold(services, snapshot, dialect, opened, call, expected, self._rules)
        services.metrics.overhead("admit", monotonic() - began_s)
        return Admitted(snapshot, dialect, upstream, request, call, opened, counting, hold, payload)

    def _way(self, request: Request, caller: Caller, tenant: Tenant, call: Call) -> Way:
        """Where the call goes, if this caller may make it. Raises ProxyError 401, 403, 404 or 503.

        A caller who was known and asks for the same model as before goes the same way.
        """
        snapshot, known = caller.snapshot, caller.known
        way = None if known is None or call.steering else known.ways.get(call.model)
        if way is None:
            upstream = _upstream(snapshot, tenant, call, request.target)
            way = Way(call.model, upstream, snapshot)
            if known is not None and not call.steering:
                known.take(way)
        if snapshot.settings.unpriced == "deny" and not call.free:
            snapshot.check_priced(way.upstream, call.model, caller.started_at_ms)
        return way

    def _claimant(self, tenant: Tenant, upstream: Upstream) -> Claimant:
        return Claimant(self._services.owners, upstream.name, tenant.team, tenant.key_id)

    def _continued(self, call: Call, tenant: Tenant, upstream: Upstream) -> int:
        """The tokens of what the call goes on with, which are billed again. Raises ProxyError 404
        for what is not the caller's; a credential of its own is checked by the vendor."""
        services = self._services
        claimant = self._claimant(tenant, upstream)
        if call.items and upstream.settings.auth == "own":
            items = Claimant(services.items, upstream.name, tenant.team, tenant.key_id)
            check_items(call, items, shared=services.directory.has_several_owners)
        tokens = 0
        for id in call.continues:
            kept = services.kept_answers.known(id)
            if upstream.settings.auth == "own" and not claimant.owns(id):
                kept = services.kept_answers.of(id, tenant)
            tokens += 0 if kept is None else kept.tokens
        return tokens

    async def readable(
        self,
        request: Request,
        caller: Caller,
        tenant: Tenant,
        memory: BodyMemory,
        charge_class: ChargeClass,
    ) -> tuple[bytes, bytes]:
        """A JSON body that is no call: as it came, and with its content coding undone."""
        encoding = encoding_of(request)
        settings = caller.snapshot.settings
        await self.refuse_used_up(caller, tenant, charge_class)
        with self._services.arriving:
            body = await whole_body(request, settings, memory)
        json_text = self._services.large_bodies.json_text
        if encoding is None and len(body) <= LARGE_BYTES:
            return body, json_text(body, None, settings.bodies.max_bytes)
        readable = await self.aside(json_text, body, encoding, settings.bodies.max_bytes)
        if readable is not body:
            memory.take(len(readable))
        return body, readable

    async def refuse_used_up(
        self, caller: Caller, tenant: Tenant, charge_class: ChargeClass | None = None
    ) -> None:
        """Refuses callers beyond a limit before their bodies cost anything."""
        now_ms = self._services.now_ms()
        await refuse_used_up(
            self._services.quota,
            caller.snapshot,
            caller.dialect,
            tenant.key_id,
            tenant.team,
            caller.started_at_ms,
            now_ms,
            charge_class,
        )

    async def aside(self, work: Callable[[*Args], Result], *args: *Args) -> Result:
        """In a thread, one at a time."""
        async with self._one_aside:
            return await asyncio.to_thread(work, *args)

    def opened(
        self,
        request: Request,
        caller: Caller,
        tenant: Tenant,
        call: Call,
        upstream: Upstream,
        body_bytes: int,
        input_estimate: int,
        images: int | None,
        alias: str | None = None,
    ) -> Opened:
        """The opening of the request's journal entry; `alias` was asked for in place of a model."""
        attributed = None if caller.known is None else caller.known.attributed
        if attributed is None or not names_nobody(call):
            attributed = caller.snapshot.attribution.of(request.headers, call)
        end_user, tags = attributed
        retry = first(request.headers, b"x-stainless-retry-count")
        return Opened(
            caller.id,
            caller.started_at_ms,
            tenant.key_id,
            tenant.team,
            tenant.labels,
            self._services.end_users.hash(end_user),
            tags,
            call.endpoint,
            caller.dialect.name,
            upstream.name,
            upstream.account,
            call.model if alias is None else alias,
            call.stream,
            0 if retry is None or not retry.isdigit() or len(retry) >= 4 else int(retry),
            body_bytes,
            input_estimate,
            None if call.service_tier is None else call.service_tier[:TIER_CHARS_MAX],
            images,
            ChargeClass.FREE if call.free else None,
            None if alias is None else call.model,
        )


def refuse_overload(services: Services, snapshot: Snapshot) -> None:
    """Raises ProxyError 503 where no more requests may be in flight."""
    if services.inflight.count >= snapshot.settings.inflight_max:
        raise unavailable(
            "overloaded",
            "The proxy has as many requests in flight as it may (inflight_max). Try again shortly.",
        )


def _upstream(snapshot: Snapshot, tenant: Tenant, call: Call, target: str) -> Upstream:
    """Where the call goes, if this caller may make it. Raises ProxyError 401, 403, 404 or 503."""
    upstream = snapshot.upstream_for(call.model)
    if upstream is None:
        raise snapshot.no_route(call.model)
    if not tenant.allows(call.model):
        message = f"This key may not call {call.model[:100]!r}; it may call: {tenant.may_call}."
        raise ProxyError(403, "invalid_request_error", "model_not_allowed", message, param="model")
    snapshot.check_served(upstream, call.endpoint)
    forbid_fields(call.steering, upstream.settings.allow_fields)
    if "?" in target:
        check_query(target, upstream.settings.allow_fields)
    snapshot.check_usable(tenant, upstream)
    return upstream

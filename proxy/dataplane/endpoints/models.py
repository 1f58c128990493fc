"""GET /v1/models: the one upstream's own answer, or one list of what all upstreams report.

A list holds the models that the key may call. These requests use no tokens, so they are relayed
without a record. They go with the operator's key, so they count against the caller's rates of
requests, and the answers are remembered. Budgets of days and months count what is booked, so they
do not count these.
"""

from __future__ import annotations

import asyncio
from time import monotonic

import msgspec

from proxy.core.dialects.contract import Dialect
from proxy.core.dialects.registry import listing
from proxy.core.errors import ProxyError, unavailable
from proxy.core.http.headers import RawHeaders, first
from proxy.core.limits.decisions import Demand, Used
from proxy.core.limits.language import Unit
from proxy.core.limits.refusals import refusal
from proxy.core.limits.state import Refused
from proxy.core.model_names import model_of_path
from proxy.dataplane.connection import Request
from proxy.dataplane.endpoints.model_details import detailed
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.fetch import Entry, Fetch, Fetched, listed
from proxy.dataplane.upstream.pool import ConnectError
from proxy.dataplane.upstream.upstream import Upstream
from proxy.quota import QuotaUnavailable
from proxy.tenants.ring import Tenant

CACHE_S = 300.0  # how long a vendor's list is believed
ANSWERS_MAX = 256  # about one model each, and how long: names come from clients
ANSWER_BYTES_MAX = 16 * 1024
NEGOTIATED = (b"accept", b"accept-encoding", b"accept-language")
CONDITIONAL = frozenset(
    {b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"range"}
)
FETCH_S = 20.0  # how long a vendor may take to list its models


class Models:
    """Answers /v1/models and /v1/models/{id}; remembers each upstream's list for five minutes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lists: dict[Upstream, tuple[float, list[Entry]]] = {}
        self._answers: dict[
            tuple[Upstream, str, tuple[bytes | None, ...]], tuple[float, Fetched]
        ] = {}

    async def answer(
        self,
        request: Request,
        snapshot: Snapshot,
        tenant: Tenant,
        route: str,
        request_id: str,
        dialect: Dialect,
    ) -> None:
        """Writes the answer, in the shape of this dialect where it is ours. Raises ProxyError."""
        fetching = _Fetching()
        request.connection.serve(fetching)
        name = model_of_path(route)
        upstream = (
            self._sole(snapshot, tenant) if name is None else self._serving(snapshot, tenant, name)
        )
        await self._count(snapshot, tenant, name, request_id, dialect)
        own = [(b"x-tollkeeper-id", request_id.encode())]
        known = None
        enriched = snapshot.settings.models.enrich or name in snapshot.aliases
        if upstream is not None and name is not None and enriched:
            entries = await self._merged(snapshot, tenant, request.headers, fetching)
            known = next((entry for entry in entries if entry.get("id") == name), None)
        if known is not None:
            body = msgspec.json.encode(known)
            request.connection.answer(
                request, 200, [(b"Content-Type", b"application/json"), *own], body
            )
            return
        if upstream is None:
            entries = await self._merged(snapshot, tenant, request.headers, fetching)
            shape = dialect.model_list
            body = msgspec.json.encode(
                {"object": "list", "data": entries} if shape is None else shape(entries)
            )
            request.connection.answer(
                request, 200, [(b"Content-Type", b"application/json"), *own], body
            )
            return
        snapshot.check_usable(tenant, upstream)
        answer = await self._remembered(upstream, request, fetching, alone=name is not None)
        if upstream.rejects_our_credential(answer.status):
            raise upstream.credential_rejected(answer.status)
        if answer.status >= 400:
            own.append((b"x-tollkeeper-origin", b"upstream"))
        request.connection.answer(request, answer.status, answer.headers + own, answer.body)

    async def _count(
        self,
        snapshot: Snapshot,
        tenant: Tenant,
        name: str | None,
        request_id: str,
        dialect: Dialect,
    ) -> None:
        """One request of the rates that the caller has. Raises ProxyError 429 or 503."""
        own = snapshot.rules.of_tenant(tenant.key_id, tenant.team)
        limits = tuple(
            limit
            for limit in own
            if limit.unit is Unit.REQUESTS
            and limit.smooth
            and limit.dimension is None  # a list is for nobody in particular
            and limit.applies(name)
        )
        if not limits:
            return
        now_ms = self._services.now_ms()
        try:
            outcome = await self._services.quota.reserve(
                limits, Demand(exchange_id=request_id, started_at_ms=now_ms), now_ms
            )
        except QuotaUnavailable as error:
            raise unavailable(
                "quota_unavailable",
                f"The proxy cannot tell now whether this is within its limits ({error})."
                " Try again shortly.",
            ) from error
        if isinstance(outcome, Refused):
            raise refusal(outcome, now_ms, snapshot.zone, dialect.limit_fields)
        self._services.quota.settle(outcome, Used(requests=1), now_ms)

    async def _remembered(
        self, upstream: Upstream, request: Request, fetching: _Fetching, *, alone: bool
    ) -> Fetched:
        """The upstream's answer; that about one model from memory, where the answer is not the
        caller's own."""
        if (
            not alone
            or upstream.settings.auth != "own"
            or any(name.lower() in CONDITIONAL for name, _ in request.headers)
        ):
            return await self._fetch(upstream, request.target, request.headers, fetching)
        key = (upstream, request.target, tuple(first(request.headers, name) for name in NEGOTIATED))
        known = self._answers.get(key)
        if known is not None and monotonic() - known[0] < CACHE_S:
            return known[1]
        answer = await self._fetch(upstream, request.target, request.headers, fetching)
        self._answers.pop(key, None)
        if answer.status in (200, 404) and len(answer.body) <= ANSWER_BYTES_MAX:
            if len(self._answers) >= ANSWERS_MAX:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = (monotonic(), answer)
        return answer

    def _sole(self, snapshot: Snapshot, tenant: Tenant) -> Upstream | None:
        """The one upstream whose list can be passed on as it is, or None."""
        one = len(snapshot.upstreams) == 1 and not tenant.restricted and not snapshot.aliases
        if one and not snapshot.settings.models.enrich:
            return next(iter(snapshot.upstreams.values()))
        return None

    def _serving(self, snapshot: Snapshot, tenant: Tenant, model: str) -> Upstream:
        upstream = snapshot.upstream_for(model)
        if upstream is None or not tenant.allows(model):
            raise snapshot.no_route(model)
        return upstream

    async def _merged(
        self, snapshot: Snapshot, tenant: Tenant, headers: RawHeaders, fetching: _Fetching
    ) -> list[Entry]:
        usable = [
            upstream
            for upstream in snapshot.upstreams.values()
            if snapshot.why_unusable(tenant, upstream) is None
        ]
        if not usable:
            for upstream in snapshot.upstreams.values():
                snapshot.check_usable(tenant, upstream)
        lists = await asyncio.gather(
            *(self._listed(upstream, headers, fetching) for upstream in usable)
        )
        merged: dict[str, Entry] = {}
        for upstream, entries in zip(usable, lists, strict=True):
            for entry in entries:
                name = entry.get("id")
                if (
                    isinstance(name, str)
                    and name not in merged
                    and snapshot.upstream_for(name) is upstream
                    and tenant.allows(name)
                ):
                    merged[name] = self._shown(entry, snapshot, tenant, upstream)
        listed_by = dict(zip(usable, lists, strict=True))
        for name, alias in snapshot.aliases.items():
            upstream = snapshot.upstreams[alias.upstream]
            if upstream in listed_by and tenant.allows(name):
                entry = _alias_entry(name, alias.sent, listed_by[upstream])
                merged[name] = self._shown(entry, snapshot, tenant, upstream)
        if not merged and not any(lists):
            raise ProxyError(
                502,
                "api_error",
                "upstream_failed",
                "No upstream could list its models. Try again, or ask the operator to check the"
                " upstreams.",
            )
        return list(merged.values())

    def _shown(self, entry: Entry, snapshot: Snapshot, tenant: Tenant, upstream: Upstream) -> Entry:
        if not snapshot.settings.models.enrich:
            return entry
        now_ms = self._services.now_ms()
        return detailed(entry, snapshot.prices, upstream.name, tenant.team, now_ms)

    async def _listed(
        self, upstream: Upstream, headers: RawHeaders, fetching: _Fetching
    ) -> list[Entry]:
        """What one upstream reports; empty if it does not answer. Remembered only where the answer
        is not the caller's own."""
        own = upstream.settings.auth == "own"
        known = self._lists.get(upstream)
        if own and known is not None and monotonic() - known[0] < CACHE_S:
            return known[1]
        try:
            target, fields = listing(upstream.settings.apis)
            answer = await self._fetch(upstream, target, fields if own else headers, fetching)
        except ProxyError:
            return known[1] if own and known is not None else []
        entries = listed(answer)
        if own and answer.status == 200:
            self._lists = {
                known: value
                for known, value in self._lists.items()
                if monotonic() - value[0] < CACHE_S
            }
            self._lists[upstream] = (monotonic(), entries)
        return entries

    async def _fetch(
        self, upstream: Upstream, target: str, headers: RawHeaders, fetching: _Fetching
    ) -> Fetched:
        pool = self._services.pools.of(upstream)
        try:
            connection = await pool.acquire()
        except ConnectError as error:
            self._services.metrics.upstream_error(upstream.name, error.kind)
            raise upstream.unreachable(error) from error
        fetch = Fetch(upstream, pool, connection)
        fetching.add(fetch)
        try:
            async with asyncio.timeout(min(FETCH_S, upstream.timeouts.first_byte_s)):
                return await fetch.run(
                    upstream.head("GET", target, headers, None, via=self._services.via.line)
                )
        except TimeoutError:
            self._services.metrics.upstream_error(upstream.name, "timeout")
            message = f"The upstream `{upstream.name}` did not list its models in time. Try again."
            raise ProxyError(504, "api_error", "upstream_timeout", message) from None
        except OSError as error:
            self._services.metrics.upstream_error(upstream.name, "reset")
            message = f"The upstream `{upstream.name}` broke its answer off. Try again."
            raise ProxyError(502, "api_error", "upstream_failed", message) from error
        finally:
            fetch.end()


def _alias_entry(name: str, sent: str, listed: list[Entry]) -> Entry:
    """What the vendor says of the model that it is sent, under the name that callers use."""
    known = next((entry for entry in listed if entry.get("id") == sent), None)
    unknown: Entry = {"object": "model", "created": 0, "owned_by": ""}
    return {**(unknown if known is None else known), "id": name}


class _Fetching:
    """The fetches made for one client. If it leaves, they end.

    The connections have paying work to do.
    """

    def __init__(self) -> None:
        self._fetches: list[Fetch] = []
        self._left = False

    def add(self, fetch: Fetch) -> None:
        self._fetches.append(fetch)
        if self._left:
            fetch.give_up()

    def client_left(self) -> None:
        self._left = True
        for fetch in self._fetches:
            fetch.give_up()

    def client_writable(self) -> None:
        """An answer is small and written whole: nothing waits for the client."""

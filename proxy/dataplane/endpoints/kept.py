"""Requests for an answer that its vendor keeps: read, cancelled or deleted by its id."""

from __future__ import annotations

from collections.abc import Callable

from proxy.core.dialects.contract import Call, KeptPath
from proxy.core.limits.rules import Rules
from proxy.dataplane.admission import Admission, Admitted, Caller
from proxy.dataplane.connection import Request
from proxy.dataplane.counting.exchange_count import begin_count
from proxy.dataplane.hold import Hold
from proxy.dataplane.kept_answers import not_found
from proxy.dataplane.request_body import BodyMemory, Payload
from proxy.dataplane.services import Services
from proxy.tenants.ring import Tenant


class KeptRequests:
    """Admits the requests. `rules`: the limits in effect, which a reload changes."""

    def __init__(
        self, services: Services, admission: Admission, rules: Callable[[], Rules]
    ) -> None:
        self._services = services
        self._admission = admission
        self._rules = rules

    async def admit(
        self, request: Request, caller: Caller, tenant: Tenant, kept: KeptPath, body: bytes
    ) -> Admitted:
        """Admits a request for an answer that a vendor keeps, if it is the caller's.

        Raises ProxyError 404 for others.
        """
        snapshot, dialect = caller.snapshot, caller.dialect
        known = self._services.kept_answers.of(kept.answer_id, tenant)
        upstream = snapshot.upstreams.get(known.upstream)
        if upstream is None:
            raise not_found()
        snapshot.check_usable(tenant, upstream)
        call = Call(endpoint=kept.endpoint, model=known.model, writes_text=False, free=True)
        has_body = bool(body) or request.method == "POST"
        head = upstream.head(
            request.method,
            request.target,
            request.headers,
            len(body) if has_body else None,
            via=self._services.via.line,
        )
        memory = BodyMemory(
            self._services.bodies,
            tenant.key_id,
            total_max_bytes=len(body),
            body_max_bytes=len(body),
        )
        counting = begin_count(
            self._services.counter, snapshot, upstream, dialect, call, asked=True
        )
        opened = self._admission.opened(request, caller, tenant, call, upstream, len(body), 0, None)
        hold = Hold(self._services, snapshot, dialect, opened, call, 0, self._rules)
        payload = Payload(head + body, None, memory)
        return Admitted(snapshot, dialect, upstream, request, call, opened, counting, hold, payload)

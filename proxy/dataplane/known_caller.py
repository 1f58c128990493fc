"""What follows from the head of a usual request is found once for one config and set of keys.

It is kept at the head itself, so it is found only by the very bytes, credential included, that it
was worked out of, and goes with their connection.
"""

from __future__ import annotations

from proxy.core.dialects.contract import Dialect
from proxy.core.http.headers import Fields
from proxy.dataplane.connection import Request
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.upstream import Upstream
from proxy.tenants.ring import KeyRing, Tenant


class KnownCaller:
    """Who asks for what, with a head that was found in order.

    Its media type and its way here were, and its body has no coding.

    `upstream_head`: what the last upstream was sent for this head, up to the length of the body.
    """

    __slots__ = (
        "dialect",
        "endpoint",
        "headers",
        "keys",
        "origin",
        "snapshot",
        "tenant",
        "upstream",
        "upstream_head",
    )

    def __init__(
        self,
        request: Request,
        snapshot: Snapshot,
        keys: KeyRing,
        tenant: Tenant,
        endpoint: str,
        dialect: Dialect,
    ) -> None:
        self.snapshot = snapshot
        self.keys = keys
        self.tenant = tenant
        self.endpoint = endpoint
        self.dialect = dialect
        self.headers: Fields = request.headers
        self.origin = request.origin
        self.upstream: Upstream | None = None
        self.upstream_head = b""

    def holds(self, snapshot: Snapshot, keys: KeyRing, now_ms: int) -> bool:
        """Whether all of it is still so."""
        expires_at_ms = self.tenant.expires_at_ms
        return (
            self.snapshot is snapshot
            and self.keys is keys
            and (expires_at_ms is None or now_ms < expires_at_ms)
        )

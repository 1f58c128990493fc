"""What follows from the head of a usual request is found once for one config and set of keys.

It is kept at the head itself, so it is found only by the very bytes, credential included, that it
was worked out of, and goes with the last connection that has it.
"""

from __future__ import annotations

from proxy.core.dialects.contract import Dialect
from proxy.core.http.cors import without_origin
from proxy.core.http.gaps import Template
from proxy.core.http.headers import Fields
from proxy.dataplane.connection import Request
from proxy.dataplane.snapshot import Snapshot
from proxy.dataplane.upstream.upstream import Upstream
from proxy.tenants.ring import KeyRing, Tenant

WAYS_MAX = 8  # of one head


class Way:
    """Where a call for a model goes, which may be made, and what its body is asked there.

    `sent`: the name that the upstream is sent, where the model is an alias; else None.

    `head`: what its upstream is sent for the head that this way is kept with, up to the length of
    the body; None until it is needed.
    """

    __slots__ = ("counts_images", "has_owners", "head", "model", "sent", "upstream")

    def __init__(self, model: str, upstream: Upstream, snapshot: Snapshot) -> None:
        self.model = model
        self.sent = snapshot.sent_name(model)
        self.upstream = upstream
        self.has_owners = snapshot.passed.has_owners(upstream.name)
        self.counts_images = snapshot.prices.counts_images(upstream.name)
        self.head: Template | None = None

    def keep_head(self, head: Template) -> None:
        """What was worked out for a request is sent for the next ones with the same head."""
        self.head = head


class KnownCaller:
    """Who asks for what, with a head that was found in order.

    Its media type and its way here were, and its body has no coding.

    `ways`: of the models that were asked for, by name. `attributed`: the end user and tags that the
    head names, for a body that names none; None: they may differ.
    """

    __slots__ = (
        "_headers",
        "attributed",
        "dialect",
        "endpoint",
        "keys",
        "origin",
        "snapshot",
        "tenant",
        "ways",
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
        self._headers: Fields = request.headers
        self.origin = request.origin
        self.ways: dict[str, Way] = {}
        self.attributed: tuple[str | None, dict[str, str]] | None = None
        if not any(map(snapshot.attribution.reads, request.head.telling)):
            self.attributed = snapshot.attribution.of(request.headers, None)

    def read(self, request: Request) -> None:
        """Another request came with the same head: its fields are as they were for the first."""
        headers = self._headers
        if not request.head.only_length:
            headers = without_origin(request.headers) if self.origin else request.headers
        request.read_as(headers, self.origin)

    def take(self, way: Way) -> None:
        """The model that is asked for goes this way. The names come from clients, so few are kept;
        of more, those that came last."""
        if len(self.ways) >= WAYS_MAX:
            self.ways.clear()
        self.ways[way.model] = way

    def holds(self, snapshot: Snapshot, keys: KeyRing, now_ms: int) -> bool:
        """Whether all of it is still so."""
        expires_at_ms = self.tenant.expires_at_ms
        return (
            self.snapshot is snapshot
            and self.keys is keys
            and (expires_at_ms is None or now_ms < expires_at_ms)
        )

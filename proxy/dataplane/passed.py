"""The paths that a config passes through: which of them a request is for, and who may use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote, unquote_plus

import msgspec

from proxy.config.settings import Passthrough, Settings
from proxy.core.errors import ProxyError
from proxy.core.http.passed_paths import (
    PathPattern,
    object_of,
    read_pattern,
    segments,
    works_later,
)
from proxy.core.limits.language import Unit
from proxy.core.limits.limit import Enforce, Limit
from proxy.core.usage import ChargeClass
from proxy.dataplane.connection import Request
from proxy.dataplane.upstream.upstream import Upstream
from proxy.tenants.ring import Tenant


class PassedPath(msgspec.Struct, frozen=True):
    """One entry of `passthrough`. `name` is what its requests are called where others name a
    model."""

    entry: Passthrough
    pattern: PathPattern
    upstream: Upstream
    charge_class: ChargeClass

    @property
    def name(self) -> str:
        return self.pattern.name

    def check_allowed(self, tenant: Tenant) -> None:
        """Raises 403 unless this caller may use it. A key that may call some models only has to be
        named, itself or its team, or has to have the path among them."""
        entry = self.entry
        named = tenant.key_id in entry.keys or (
            tenant.team is not None and tenant.team in entry.teams
        )
        if named or not (entry.keys or entry.teams or tenant.restricted):
            return
        if not (entry.keys or entry.teams) and tenant.allows(self.name):
            return
        message = (
            f"This key may not use {self.name}. The operator names who may in `passthrough`,"
            " or in the key's `models`."
        )
        raise ProxyError(403, "invalid_request_error", "path_not_allowed", message)

    def check_unread(self, tenant: Tenant, limits: Iterable[Limit]) -> None:
        """Raises 403 where work is ordered by a caller who is bound to models, or strictly limited.

        What such work runs is not read here. `limits`: all of the caller's, for whatever models.
        """
        if self.entry.models == "any":
            return
        strict = any(
            limit.enforce is Enforce.STRICT and limit.unit not in (Unit.REQUESTS, Unit.CONCURRENT)
            for limit in limits
        )
        if tenant.restricted:
            why = f"may call some models only ({tenant.may_call[:200]})"
        elif strict:
            why = "has a strict limit, which lets through only what can be bounded"
        else:
            return
        message = (
            f"This key {why}, and what {self.name} runs is not read here. Make the requests one by"
            " one, or ask the operator for `models: any` on this path."
        )
        raise ProxyError(403, "invalid_request_error", "path_not_allowed", message)


class Found(msgspec.Struct, frozen=True):
    """The path that a request is for. `object`: the id in it of something that has an owner, None
    where it names none. `last`: nothing stands behind that id. `segments`: all behind the entry's
    path, decoded."""

    passed: PassedPath
    object: str | None
    last: bool
    segments: tuple[str, ...] = ()

    def named(self, request: Request) -> Iterator[str]:
        """All that the path and the query may name an object with."""
        yield from self.segments
        for pair in re.split("[&;]", request.target.partition("?")[2]):
            yield unquote_plus(pair.partition("=")[2])

    def orders_work(self, method: str) -> bool:
        """Whether it makes a batch or the like, which its vendor works on behind the answer."""
        return (
            method == "POST"
            and self.object is None
            and works_later(self.passed.pattern.parts + self.segments)
        )

    def tells_itself(self, request: Request) -> bool:
        """Whether the answer is the vendor's own word about the object.

        What stands below it, or is chosen by a query, may be its content, which a caller wrote.
        """
        return self.last and "?" not in request.target


class PassedPaths:
    """All of a config's. The first that fits path and method is meant."""

    def __init__(self, settings: Settings, upstreams: Mapping[str, Upstream]) -> None:
        self._all = tuple(
            PassedPath(entry, pattern, upstreams[entry.upstream], ChargeClass(entry.charge))
            for entry in settings.passthrough
            if (pattern := read_pattern(entry.path)) is not None
        )

    def has_owners(self, upstream: str) -> bool:
        """Whether objects at this upstream belong to the teams that have made them."""
        return any(
            passed.upstream.name == upstream and passed.entry.ids == "team" for passed in self._all
        )

    def find(self, method: str, path: str) -> Found | None:
        """None: no entry has this path. Raises 405 where one has it for other methods. Clients may
        leave out /v1."""
        if not self._all:
            return None
        methods: list[str] = []
        for spelled in (path, f"/v1{path}"):
            parts = segments(spelled)
            if parts is None:
                return None
            for passed in self._all:
                rest = passed.pattern.rest(parts)
                if rest is None:
                    continue
                if method in passed.entry.methods:
                    id = object_of(rest)
                    decoded = tuple(map(unquote, rest))
                    return Found(passed, id, decoded[-1:] == (id,), decoded)
                methods += passed.entry.methods
        if methods:
            offered = list(dict.fromkeys(methods))
            message = f"{method[:20]} is not offered here; use {' or '.join(offered)}."
            raise ProxyError(
                405,
                "invalid_request_error",
                "method_not_allowed",
                message,
                headers=(("Allow", ", ".join(offered)),),
            )
        return None

"""Asks the routes of the admin API from within the process, as somebody who passed its checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from proxy.admin.auth import check_role
from proxy.admin.endpoint import AdminEndpoint
from proxy.admin.pages.visitors import PageVisitor
from proxy.admin.replays import Replays


class InsideApi:
    """The routes by method and path. What a role may not do over HTTP it may not do here."""

    def __init__(self, routes: Sequence[AdminEndpoint]) -> None:
        self._routes = {(route.method, route.path): route for route in routes}
        self._replays = Replays()

    async def ask(
        self,
        visitor: PageVisitor,
        method: str,
        path: str,
        *,
        places: Mapping[str, str] | None = None,
        query: Iterable[tuple[str, str]] = (),
        body: Mapping[str, object] | None = None,
        address: str | None = None,
        once: str | None = None,
    ) -> Any:
        """The route's answer in its own shape. Raises ProxyError as the route does.

        path · as the route has it, such as `/admin/v1/keys/{name}`    places · what stands in it
        address · the other end of the browser's connection, for the audit
        once · of a form: sent again, a route that makes something gives its first answer again
        """
        check_role(visitor.asker, method)
        route = self._routes[method, path]
        text = b"" if body is None else json.dumps(body).encode()
        origin = visitor.origin(address)
        ask = route.request(visitor.asker, query, text, places or {}, origin)
        if not (route.once and once and isinstance(route.returns, type)):
            return await route.answer(ask)

        async def work() -> bytes:
            return msgspec.json.encode(await route.answer(ask))

        what = f"{path} {sorted((places or {}).items())}"
        told, _ = await self._replays.once(visitor.seed, what, once, text, work)
        return msgspec.json.decode(told, type=route.returns)

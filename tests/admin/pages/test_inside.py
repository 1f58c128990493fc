"""A role may do inside what it may do over HTTP, at every route that there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from proxy.admin.auth import Asker
from proxy.admin.endpoint import AdminEndpoint, AdminRequest, NoQuery
from proxy.admin.pages.inside import InsideApi
from proxy.admin.pages.visitors import PageVisitor
from proxy.admin.tenant_views import MadeKey, MadeKeys, NewKeys
from proxy.core.errors import ProxyError

ADMIN = PageVisitor(Asker("ops", "admin"), "cookie-1")
OTHER = PageVisitor(Asker("ops", "admin"), "cookie-2")
VIEWER = PageVisitor(Asker("board", "viewer"), "cookie-3", "nonce", "x-auth-user")


def telling(asked: list[AdminRequest]) -> Callable[[AdminRequest], Awaitable[object]]:
    async def answer(ask: AdminRequest) -> MadeKeys:
        asked.append(ask)
        return MadeKeys([MadeKey("n", f"secret-{len(asked)}")])

    return answer


async def test_a_viewer_reads_and_changes_nothing_whatever_the_route() -> None:
    asked: list[AdminRequest] = []
    methods = ("GET", "POST", "PATCH", "DELETE", "PUT")
    routes = [AdminEndpoint(method, "/r/{name}", "", telling(asked)) for method in methods]
    api = InsideApi(routes)
    for method in methods:
        await api.ask(ADMIN, method, "/r/{name}", places={"name": "a"}, address="::1")
        if method != "GET":
            with pytest.raises(ProxyError, match=r"403 role_not_allowed: 'board' may only look"):
                await api.ask(VIEWER, method, "/r/{name}")
    assert len(asked) == len(methods)
    assert (asked[0].asker, asked[0].origin) == (ADMIN.asker, "page ::1")
    await api.ask(VIEWER, "GET", "/r/{name}", address="10.0.0.5")
    assert asked[-1].origin == "page 10.0.0.5 x-auth-user"


async def test_what_makes_something_gives_the_same_form_its_first_answer() -> None:
    asked: list[AdminRequest] = []
    route = AdminEndpoint("POST", "/k", "", telling(asked), NoQuery, NewKeys, MadeKeys, once=True)
    again = AdminEndpoint("POST", "/again", "", telling(asked), NoQuery, NewKeys, MadeKeys)
    api = InsideApi([route, again])

    async def secret(visitor: PageVisitor, path: str = "/k", **more: str | None) -> object:
        body = {"name": more.pop("name", "n")}
        return (await api.ask(visitor, "POST", path, body=body, **more)).keys[0].secret  # type: ignore[arg-type]

    assert await secret(ADMIN, once="a") == await secret(ADMIN, once="a") == "secret-1"
    # Another form, another browser, and a route that makes nothing are asked again.
    found = [
        await secret(ADMIN, once="b"),
        await secret(OTHER, once="a"),
        await secret(ADMIN, once=None),
        await secret(ADMIN, "/again", once="a"),
    ]
    assert found == [f"secret-{n}" for n in (2, 3, 4, 5)]
    with pytest.raises(ProxyError, match="422"):
        await secret(ADMIN, once="a", name="other")
    with pytest.raises(ProxyError, match="400"):
        await secret(ADMIN, once="x" * 300)


async def test_a_body_that_does_not_fit_is_refused_as_by_the_api() -> None:
    api = InsideApi([AdminEndpoint("POST", "/k", "", telling([]), NoQuery, NewKeys)])
    for body in ({}, {"name": 1}, {"name": "n", "more": 1}):
        with pytest.raises(ProxyError, match="400"):
            await api.ask(ADMIN, "POST", "/k", body=body)

"""What a route is asked, in the shapes that it takes."""

from __future__ import annotations

import msgspec
import pytest

from proxy.admin.auth import Asker
from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.core.errors import ProxyError


class Asked(msgspec.Struct, frozen=True):
    limit: int = 5


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int = 0


async def nothing(_ask: AdminRequest) -> object:
    raise AssertionError("it is only read")


ROUTE = AdminEndpoint("POST", "/p/{name}", "Do it.", nothing, Asked, Body)


def asked(*query: tuple[str, str], body: bytes = b"") -> AdminRequest:
    return ROUTE.request(Asker("ops", "admin"), query, body, {"name": "x"}, "socket")


def test_a_body_may_be_left_out_and_is_read_strictly() -> None:
    assert asked().body == Body()
    assert asked(body=b'{"number":7}').body == Body(7)
    for body in (b'{"numbr":7}', b"[1]", b"{", b"\xff", b'{"number":"7"}', b"[" * 50_000):
        with pytest.raises(
            ProxyError, match=r"The body is not what this takes: .* in GET /admin/v1/openapi\.json"
        ):
            asked(body=body)


def test_parameters_are_read_too() -> None:
    assert asked(("limit", "7")).query == Asked(7)


def test_what_reads_no_body_ignores_one() -> None:
    route = AdminEndpoint("GET", "/p", "Show it.", nothing)
    assert route.request(Asker("ops", "admin"), (), b"{", {}, "socket").body is None
    with pytest.raises(ProxyError, match="it takes none"):
        route.request(Asker("ops", "admin"), [("a", "1")], b"", {}, "socket")

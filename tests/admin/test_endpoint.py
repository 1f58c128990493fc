"""What a route is asked: parameters that it knows, each once, in their shapes."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from proxy.admin.auth import Asker
from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.core.errors import ProxyError


class Asked(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    cut: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    through: int | None = None
    from_: str | None = None


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int = 0


async def nothing(_ask: AdminRequest) -> object:
    raise AssertionError("it is only read")


ROUTE = AdminEndpoint("POST", "/p/{name}", "Do it.", nothing, Asked, Body)


def asked(*query: tuple[str, str], body: bytes = b"") -> AdminRequest:
    return ROUTE.request(Asker("ops", "admin"), query, body, {"name": "x"}, "socket")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ((), Asked()),
        ((("limit", "10"), ("cut", "true"), ("kind", "b")), Asked(limit=10, cut=True, kind="b")),
        ((("through", "0"), ("from", "2026-11-01")), Asked(through=0, from_="2026-11-01")),
        # Words that loose readers take for nothing, or for a number, are names here.
        ((("name", "null"),), Asked(name="null")),
        ((("name", "7"),), Asked(name="7")),
        ((("name", ""),), Asked(name="")),
    ],
)
def test_parameters_are_read_in_their_shapes(
    query: tuple[tuple[str, str], ...], expected: Asked
) -> None:
    assert asked(*query).query == expected


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ((("limt", "5"),), "no query parameter 'limt'; the nearest is limit (it takes name, kind"),
        ((("limit", "5"), ("limit", "6")), "stands there twice"),
        ((("limit", "0"),), "limit: Expected int >= 1"),
        ((("limit", "11"),), "limit: Expected int <= 10"),
        ((("limit", "-1"),), "limit is a whole number"),
        ((("limit", "3e0"),), "limit is a whole number"),
        ((("limit", "٣"),), "limit is a whole number"),
        ((("limit", " 3"),), "limit is a whole number"),
        ((("limit", "9" * 5000),), "limit is a whole number"),
        ((("cut", "1"),), "cut is true or false"),
        ((("kind", "c"),), "kind: Invalid enum value 'c'"),
        ((("through", "null"),), "through is a whole number"),
        ((("\x00" * 100, "x"),), "no query parameter"),
    ],
)
def test_what_it_does_not_take_is_refused_with_what_to_write(
    query: tuple[tuple[str, str], ...], said: str
) -> None:
    with pytest.raises(ProxyError) as refused:
        asked(*query)
    assert refused.value.status == 400 and said in refused.value.message


def test_a_body_may_be_left_out_and_is_read_strictly() -> None:
    assert asked().body == Body()
    assert asked(body=b'{"number":7}').body == Body(7)
    for body in (b'{"numbr":7}', b"[1]", b"{", b"\xff", b'{"number":"7"}', b"[" * 50_000):
        with pytest.raises(ProxyError, match="The body is not what this takes"):
            asked(body=body)


def test_what_reads_no_body_ignores_one() -> None:
    route = AdminEndpoint("GET", "/p", "Show it.", nothing)
    assert route.request(Asker("ops", "admin"), (), b"{", {}, "socket").body is None
    with pytest.raises(ProxyError, match="it takes none"):
        route.request(Asker("ops", "admin"), [("a", "1")], b"", {}, "socket")

"""Parameters behind a `?`: known, each once, in their shapes."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
import pytest

from proxy.core.errors import ProxyError
from proxy.core.http.parameters import choices_at, read_parameters


class Asked(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    cut: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    through: int | None = None
    from_: str | None = None


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
    assert read_parameters(Asked, query) == expected


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
        ((("kind", "c"),), "kind is one of a, b: not 'c'."),
        ((("through", "null"),), "through is a whole number"),
        ((("\x00" * 100, "x"),), "no query parameter"),
    ],
)
def test_what_it_does_not_take_is_refused_with_what_to_write(
    query: tuple[tuple[str, str], ...], said: str
) -> None:
    with pytest.raises(ProxyError) as refused:
        read_parameters(Asked, query)
    assert refused.value.status == 400 and said in refused.value.message


class Kind(enum.StrEnum):
    TEAM = "team"
    KEY = "key"


class Line(msgspec.Struct):
    kind: Kind
    name: str | int = ""


class Order(msgspec.Struct):
    rows: list[Line]
    how: Literal["now", "later"] | None = None


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (".rows[...].kind", ("team", "key")),
        (".how", ("later", "now")),
        (".rows[...].name", ()),
        (".rows", ()),
        (".rows.kind", ()),
        (".nothing", ()),
        ("", ()),
        ("[...]", ()),
    ],
)
def test_the_words_of_a_place_are_known(place: str, words: tuple[str, ...]) -> None:
    assert choices_at(Order, place) == words

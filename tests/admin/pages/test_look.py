"""What an address asks for, and the address that asks for something."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.admin.pages.look import PageLook, link
from proxy.core.errors import ProxyError


class Wanted(msgspec.Struct, frozen=True):
    name: str | None = None
    number: int = 0


def asked(*query: tuple[str, str]) -> Wanted:
    nothing: Any = None
    return PageLook(nothing, nothing, 0, None, query).asked(Wanted)


def test_an_empty_field_of_a_form_asks_for_nothing_and_an_empty_name_is_one() -> None:
    assert asked(("form", "1"), ("name", ""), ("number", "2")) == Wanted(None, 2)
    assert asked(("name", "")) == Wanted("")
    for wrong in ((("other", "x"),), (("name", "a"), ("name", "b")), (("form", "2"),)):
        with pytest.raises(ProxyError, match="400"):
            asked(*wrong)


def test_an_address_has_what_is_not_none() -> None:
    assert link("/ui/x", a=None) == "/ui/x"
    assert link("/ui/x", a="", b="a&b=c", c=0) == "/ui/x?a=&b=a%26b%3Dc&c=0"

"""One look at a page: who looks, by which config, and what the address asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec

from proxy.admin.pages.visitors import PageVisitor
from proxy.core.http.parameters import read_parameters
from proxy.dataplane.snapshot import Snapshot

FORM: Final = ("form", "1")  # a parameter of every form that asks for a page

_Asked = TypeVar("_Asked", bound=msgspec.Struct)


class PageLook(msgspec.Struct, frozen=True):
    """A request for a page. `query` has each parameter as it came, `rest` the path behind its name.

    `address` is the other end of the browser's connection.
    """

    visitor: PageVisitor
    snapshot: Snapshot
    now_ms: int
    address: str | None
    query: Sequence[tuple[str, str]] = ()
    rest: str = ""

    def asked(self, shape: type[_Asked]) -> _Asked:
        """The parameters in this shape. Raises ProxyError 400.

        A field of a form that is left empty asks for nothing; a form says that it is one. Elsewhere
        an empty value is a name that is empty.
        """
        said = [one for one in self.query if one != FORM]
        if len(said) < len(self.query):
            said = [(name, value) for name, value in said if value]
        return read_parameters(shape, said)


class ShownPage(NamedTuple):
    """The template of a page, and what it shows."""

    template: str
    values: Mapping[str, object]


def link(path: str, **parameters: str | int | None) -> str:
    """The address of a page with these parameters; what is None is left out."""
    said = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(said)}" if said else path

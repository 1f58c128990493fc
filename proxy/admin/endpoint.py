"""What a route is: its method and path, the shapes that it takes and gives, and who answers.

The shapes decode what comes and encode what goes, and the OpenAPI document is made from them. A
route knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from proxy.admin.auth import Asker
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.spelling import nearest
from proxy.ledger import LedgerError, LedgerUnavailable

_Answer = TypeVar("_Answer")


class NoQuery(msgspec.Struct, frozen=True):
    """Nothing."""


class AdminRequest(msgspec.Struct, frozen=True):
    """A request that passed the checks: who asks, and for what.

    query, body · in the shapes that the route takes    path · what stands in its path's places
    origin · from where: the control socket, or an address
    """

    asker: Asker
    query: Any = NoQuery()
    body: Any = None
    path: Mapping[str, str] = {}
    origin: str = "socket"


class Told(msgspec.Struct, frozen=True):
    """An answer that is no JSON of one shape: a whole text, or pieces that are sent as they come.

    `next` goes into the header `x-tollkeeper-next`, for what to ask for with `after`.
    """

    media_type: str
    pieces: bytes | AsyncIterator[bytes]
    next: int | None = None


class AdminEndpoint(msgspec.Struct, frozen=True):
    """A route. `answer` returns what `returns` says, or raises ProxyError.

    about · what it does, in one sentence
    query, body · the shapes that are taken; None: it is not read
    returns · the shape of the answer, or the media types of a `Told`
    errors · statuses beside those that every route may answer
    once · asked again under the same `Idempotency-Key`, it gives its first answer again
    """

    method: str
    path: str
    about: str
    answer: Callable[[AdminRequest], Awaitable[object]]
    query: type[msgspec.Struct] | None = NoQuery
    body: type[msgspec.Struct] | None = None
    returns: type[msgspec.Struct] | tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    once: bool = False

    def request(
        self,
        asker: Asker,
        query: Iterable[tuple[str, str]],
        body: bytes,
        path: Mapping[str, str],
        origin: str,
    ) -> AdminRequest:
        """What this route is asked. Raises ProxyError 400 with the reason."""
        return AdminRequest(
            asker,
            NoQuery() if self.query is None else _query(self.query, query),
            None if self.body is None else _body(self.body, body),
            path,
            origin,
        )


def _body(shape: type[msgspec.Struct], body: bytes) -> msgspec.Struct:
    """An empty body is `{}`."""
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise invalid_request(f"The body is not what this takes: {error}.") from error


def _query(shape: type[msgspec.Struct], given: Iterable[tuple[str, str]]) -> msgspec.Struct:
    """The parameters behind the `?`: each known, and once."""
    found: dict[str, str | int | bool] = {}
    known = _parameters(shape)
    for name, value in given:
        if name not in known:
            close = nearest(name[:80], known)
            hint = f"; the nearest is {close}" if close is not None else ""
            knows = f" (it takes {', '.join(known)})" if known else " (it takes none)"
            raise invalid_request(
                f"This has no query parameter {name[:80]!r}{hint}{knows}.", param=name[:80]
            )
        if name in found:
            raise invalid_request(f"The query parameter {name} stands there twice.", param=name)
        found[name] = _READERS[known[name]](value, name)
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        said, _, where = str(error).replace("`", "").partition(" - at $.")
        raise invalid_request(f"{where}: {said}.", param=where) from error


@cache
def _parameters(shape: type[msgspec.Struct]) -> dict[str, type]:
    """Each parameter's name, and whether it is text, a number, or true or false."""
    told = inspect.type_info(shape)
    assert isinstance(told, inspect.StructType), "a query is a struct"
    return {field.encode_name: _kind(field.type) for field in told.fields}


def _kind(told: inspect.Type) -> type:
    if isinstance(told, inspect.Metadata):
        return _kind(told.type)
    if isinstance(told, inspect.UnionType):
        [told] = [choice for choice in told.types if not isinstance(choice, inspect.NoneType)]
    if isinstance(told, inspect.IntType):
        return int
    return bool if isinstance(told, inspect.BoolType) else str


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(2**63))):
        raise invalid_request(f"{name} is a whole number.", param=name)
    return int(text)


def _yes_or_no(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise invalid_request(f"{name} is true or false.", param=name)
    return text == "true"


# Not as `msgspec` reads loose text: it takes the word `null` for nothing, which is also a name.
_READERS: dict[type, Callable[[str, str], str | int | bool]] = {
    str: lambda text, _name: text,
    int: _number,
    bool: _yes_or_no,
}


async def read(question: Callable[[], _Answer]) -> _Answer:
    """The answer of the book, asked in a thread. Raises ProxyError 503 where it cannot be read."""
    try:
        return await asyncio.to_thread(question)
    except (LedgerError, LedgerUnavailable) as error:
        message = f"The ledger cannot be read now: {error}."
        raise ProxyError(503, "api_error", "ledger_unavailable", message) from error

"""What a route is: its method and path, the shapes that it takes and gives, and who answers.

The shapes decode what comes and encode what goes, and the OpenAPI document is made from them. A
route knows nothing of HTTP.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from proxy.admin.auth import Asker
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.parameters import choices_at, read_parameters
from proxy.ledger import LedgerError, LedgerUnavailable, QuestionRefused
from proxy.ledger.asking import answer_of

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
    slashes · what stands in the path's place may hold slashes as they are
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
    slashes: bool = False

    @property
    def pattern(self) -> str:
        """The path as aiohttp's router takes it."""
        return self.path.replace("}", r":[\s\S]+}") if self.slashes else self.path

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
            NoQuery() if self.query is None else read_parameters(self.query, query),
            None if self.body is None else _body(self.body, body),
            path,
            origin,
        )


def _body(shape: type[msgspec.Struct], body: bytes) -> msgspec.Struct:
    """An empty body is `{}`. A name that stands twice is refused: parsers differ in which holds."""
    try:
        json.loads(body or b"{}", object_pairs_hook=_named_once)
        return msgspec.json.decode(body or b"{}", type=shape)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        words = choices_at(shape, str(error).rpartition(" - at `$")[2].rstrip("`"))
        known = f" (it is one of {', '.join(words)})" if words else ""
        raise invalid_request(
            f"The body is not what this takes: {error}{known}. Its shape is in GET"
            " /admin/v1/openapi.json."
        ) from error


def _named_once(members: list[tuple[str, object]]) -> None:
    names: set[str] = set()
    for name, _ in members:
        if name in names:
            raise ValueError(f"{name[:80]!r} stands there twice")
        names.add(name)


async def read(question: Callable[[], _Answer]) -> _Answer:
    """The answer of the book, asked in a thread.

    Raises ProxyError 400 where it cannot be answered as it is asked, 503 where the book cannot be
    read.
    """
    try:
        return await answer_of(question)
    except QuestionRefused as error:
        raise invalid_request(f"The book cannot be asked so: {error}.") from error
    except (LedgerError, LedgerUnavailable) as error:
        message = f"The ledger cannot be read now: {error}."
        raise ProxyError(503, "api_error", "ledger_unavailable", message) from error

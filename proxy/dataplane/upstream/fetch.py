"""One small request to an upstream whose answer is read whole.

It serves lists of models and `check --connect`. It is neither metered nor booked.
"""

from __future__ import annotations

import asyncio

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.http.headers import first, first_text
from proxy.core.http.masking import Watch
from proxy.core.http.response_head import AnswerHead
from proxy.dataplane.upstream.body import Body
from proxy.dataplane.upstream.connection import UpstreamConnection
from proxy.dataplane.upstream.pool import Pool
from proxy.dataplane.upstream.upstream import Upstream

ANSWER_BYTES_MAX = 8 << 20  # the longest list of models known is below 1 MiB


Entry = dict[str, object]


class Fetched(msgspec.Struct, frozen=True):
    """An upstream's answer, read whole. The header fields are those that a client gets."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Fetch:
    """Sends one request on a connection and receives its answer. Its maker always calls `end`."""

    def __init__(self, upstream: Upstream, pool: Pool, connection: UpstreamConnection) -> None:
        self._upstream = upstream
        self._pool = pool
        self._connection = connection
        self._answer: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self._head: AnswerHead | None = None
        self._body: Body | None = None
        self._parts: list[bytes] = []
        self._framed = False  # the answer's end is in its own bytes, not the connection's
        self._size = 0

    async def run(self, request: bytes) -> Fetched:
        """Sends head and body in one write.

        Raises OSError if no whole answer comes.
        """
        self._connection.serve(self)
        self._connection.send(request)
        return await self._answer

    def give_up(self) -> None:
        """Ends the wait: the client that wanted the answer has left."""
        if not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the client left"))

    def end(self) -> None:
        """Gives the connection back, or closes it if the answer was not read to its end."""
        if self._body is not None and self._body.at_eof():
            self._pool.release(self._connection)
        else:
            self._pool.discard(self._connection)

    # What the connection tells.

    def head_received(self, head: AnswerHead, body: Body) -> None:
        self._head, self._body = head, body
        self._framed = head.chunked or first(head.headers, b"content-length") is not None

    def request_sent(self) -> None:
        """Frees nothing: the request is small, and no account has it."""

    def body_received(self) -> None:
        if self._body is None or self._head is None or self._answer.done():
            return
        part = self._body.read_nowait()
        self._parts.append(part)
        self._size += len(part)
        if self._size > ANSWER_BYTES_MAX:
            self._answer.set_exception(OSError("the answer is too long"))
        elif self._body.at_eof():
            body = b"".join(self._parts)
            if self._connection.truncated and not (self._framed or _is_json(body)):
                self._answer.set_exception(OSError("the answer has no proper end"))
            else:
                self._finish(self._head, body)

    def _finish(self, head: AnswerHead, body: bytes) -> None:
        masking = self._upstream.masking
        coding = first_text(head.headers, b"content-encoding")
        if masking and coding is not None and Watch(masking, coding).finds(body):
            self._answer.set_exception(OSError("the answer quotes our credential"))
        else:
            headers = self._upstream.for_the_client(head)
            self._answer.set_result(Fetched(head.code, headers, masking.masked(body)))

    def connection_failed(self, error: BaseException | None) -> None:
        if self._body is not None and self._body.is_eof():
            self.body_received()
        if not self._answer.done():
            self._answer.set_exception(OSError("the connection was closed"))


def _is_json(body: bytes) -> bool:
    """Whether it is JSON, which shows by itself that it is whole."""
    try:
        msgspec.json.decode(body)
    except JSON_ERRORS:
        return False
    return True


def listed(answer: Fetched) -> list[Entry]:
    """The models of a list answer; empty for anything else.

    That includes compressed answers: none is asked for.
    """
    if answer.status != 200:
        return []
    try:
        data = msgspec.json.decode(answer.body)
    except JSON_ERRORS:
        return []
    entries = data.get("data") if isinstance(data, dict) else data
    return (
        [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )

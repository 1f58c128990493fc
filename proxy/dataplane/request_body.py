"""Reading a request's body: whole, within its bounds of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from aiohttp import web
from aiohttp.streams import StreamReader

from proxy.config.settings import Settings
from proxy.core.errors import ProxyError, invalid_request, too_large, unavailable
from proxy.dataplane.connection import Request
from proxy.dataplane.services import COPIES, KEY_SHARE, HeldBodies


async def whole_body(request: Request, settings: Settings, memory: BodyMemory) -> bytes:
    """The body of a request under these bounds, once it is here; its memory is taken."""
    request.confirm_continue()
    body = await read_body(
        request.body,
        bytes_max=settings.bodies.max_bytes,
        idle_s=settings.timeouts.body_idle_s,
        rate_min_bytes_s=settings.bodies.rate_min_bytes,
        arrived=memory.take,
    )
    request.was_read()
    return body


def encoding_of(request: Request) -> str | None:
    """The request's content coding; None where none is named. Raises ProxyError 400 for several."""
    encodings = request.headers.by_name.get(b"content-encoding")
    if encodings is None:
        return None
    if len(encodings) > 1:
        raise invalid_request("Content-Encoding is given more than once.")
    return encodings[0].decode("latin-1")


async def read_body(
    stream: StreamReader,
    *,
    bytes_max: int,
    idle_s: float,
    rate_min_bytes_s: int,
    arrived: Callable[[int], None],
) -> bytes:
    """The whole body. `arrived` is told the size of each part and may raise. Raises ProxyError 413,
    408 or 400; the connection closes after any of them."""
    services: list[bytes] = []
    size = 0
    deadline_s = monotonic() + idle_s
    try:
        while not stream.at_eof():
            part = stream.read_nowait()
            if not part:
                async with asyncio.timeout(max(0.0, min(idle_s, deadline_s - monotonic()))):
                    part = await stream.readany()
            services.append(part)
            size += len(part)
            arrived(len(part))
            deadline_s += len(part) / rate_min_bytes_s
            if size > bytes_max:
                raise too_large(bytes_max)
    except TimeoutError:
        raise stalled_body(size, idle_s) from None
    except (web.RequestPayloadError, OSError) as error:
        raise broken_body() from error
    return services[0] if len(services) == 1 else b"".join(services)


def stalled_body(size_bytes: int, idle_s: float) -> ProxyError:
    """408: the body stopped coming."""
    message = (
        f"The request body stalled after {size_bytes} bytes; it must arrive without pauses of"
        f" {idle_s:g} s. Send it again."
    )
    return ProxyError(408, "invalid_request_error", "request_timeout", message, close=True)


def broken_body() -> ProxyError:
    """400: the body is not whole."""
    message = "The request body's framing is broken or it ended early. Send it again, whole."
    return invalid_request(message, close=True)


class BodyMemory:
    """What one request's body takes from the common bound on bodies, until it is sent.

    One key gets a quarter of the bound, though always enough for one body with its copies: its
    callers refuse each other before they refuse others.
    """

    __slots__ = ("_bodies", "_held_bytes", "_key_id", "_key_max_bytes", "_total_max_bytes")

    def __init__(
        self, bodies: HeldBodies, key_id: str, *, total_max_bytes: int, body_max_bytes: int
    ) -> None:
        self._bodies = bodies
        self._key_id = key_id
        self._total_max_bytes = total_max_bytes
        self._key_max_bytes = max(total_max_bytes // KEY_SHARE, COPIES * body_max_bytes)
        self._held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Raises ProxyError 503 if a bound would be passed."""
        held = self._bodies
        of_key = held.by_key.get(self._key_id, 0) + size_bytes
        if held.total_bytes + size_bytes > self._total_max_bytes:
            raise unavailable(
                "overloaded",
                "The proxy holds as many request bodies as it may (bodies.total_max). Try again"
                " shortly.",
            )
        if of_key > self._key_max_bytes:
            message = (
                "The proxy holds as many request bodies of this key as it may (a quarter of"
                " bodies.total_max). Try again shortly."
            )
            raise unavailable("overloaded", message)
        held.take(self._key_id, size_bytes, of_key)
        self._held_bytes += size_bytes

    def release(self) -> None:
        """Gives back what was taken; once, however often it is called."""
        held = self._held_bytes
        if held:
            self._held_bytes = 0
            self._bodies.give_back(self._key_id, held)


class Payload:
    """Request head and body as they go upstream, until they are sent.

    `plain`: the same without the question for usage, if `first` holds one that the client did not
    ask (`stream_usage: inject`), for the one retry.
    """

    __slots__ = ("_memory", "first", "plain")

    def __init__(self, first: bytes, plain: bytes | None, memory: BodyMemory) -> None:
        self.first = first
        self.plain = plain
        self._memory = memory

    def take_first(self) -> bytes:
        """What is sent first; it is kept here no longer."""
        first, self.first = self.first, b""
        return first

    def take_plain(self) -> bytes:
        """What is sent in the one retry; it is kept here no longer."""
        plain, self.plain = self.plain, None
        assert plain is not None, "there is a retry only where the question was put in"
        return plain

    def sent(self) -> None:
        """All of it was written: its bytes are given back, but for what the one retry needs."""
        if self.plain is None:
            self.release()

    def release(self) -> None:
        """Nothing of it is needed any more."""
        self.first = b""
        self.plain = None
        self._memory.release()

"""Sends a request body on as it comes, at the pace of the slower side, and never holds it whole."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.core.errors import ProxyError, too_large
from proxy.core.records.ending import How
from proxy.dataplane.connection import Request
from proxy.dataplane.request_body import broken_body, stalled_body
from proxy.dataplane.upstream.connection import UpstreamConnection


class BodyCheck(Protocol):
    """Looks at a body before it is sent on. Raises ProxyError for what may not be."""

    def feed(self, part: bytes) -> None:
        """The next bytes."""

    def end(self) -> None:
        """There are no more. Is asked before the last ones go out."""


class Decide(Protocol):
    """How an exchange is ended, once and for all."""

    def __call__(self, how: How, *, error: ProxyError | None = None) -> None: ...


class Upload:
    """Sends one body. It holds what the two connections buffer, some hundred KiB.

    `chunked`: its length is not known, so that it goes out in chunks. `over`: all of it was sent.
    `sent_bytes`: of the body. `waits_since_s`: since when the upstream takes nothing more, else
    None.
    """

    def __init__(
        self,
        request: Request,
        *,
        bytes_max: int,
        idle_s: float,
        rate_min_bytes_s: int,
        check: BodyCheck | None = None,
    ) -> None:
        self._request = request
        self._body = request.body
        self._bytes_max = bytes_max
        self._idle_s = idle_s
        self._rate_min_bytes_s = rate_min_bytes_s
        self._check = check
        self._length = request.content_length
        self.chunked = self._length is None
        self.over = False
        self.over_s = 0.0
        self.sent_bytes = 0
        self.waits_since_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, connection: UpstreamConnection, decide: Decide) -> None:
        """Begins behind the request's head. `decide` is told what was wrong with the body."""
        self._request.confirm_continue()
        self._task = asyncio.create_task(self._run(connection, decide), name="upload")

    def stop(self) -> None:
        """Sends nothing more: the exchange is over."""
        if self._task is not None:
            self._task.cancel()

    def stuck_s(self, now_s: float) -> float | None:
        """For how long the upstream has taken nothing; None once all is sent."""
        if self.over:
            return None
        return 0.0 if self.waits_since_s is None else now_s - self.waits_since_s

    async def _run(self, connection: UpstreamConnection, decide: Decide) -> None:
        try:
            await self._send(connection)
        except TimeoutError:
            decide(How.CLIENT_LEFT, error=stalled_body(self.sent_bytes, self._idle_s))
        except (web.RequestPayloadError, HttpProcessingError):
            decide(How.CLIENT_LEFT, error=broken_body())
        except ProxyError as error:
            decide(How.CLIENT_LEFT, error=error)
        except OSError:
            pass  # one of the two connections is gone, and says so itself

    async def _send(self, connection: UpstreamConnection) -> None:
        deadline_s = monotonic() + self._idle_s
        while not self._body.at_eof():
            part = self._body.read_nowait()
            if not part:
                left_s = min(self._idle_s, deadline_s - monotonic())
                async with asyncio.timeout(max(0.0, left_s)):
                    part = await self._body.readany()
            if self.sent_bytes + len(part) > self._bytes_max:
                raise too_large(self._bytes_max)
            if self._check is not None:
                self._check.feed(part)
                if self.sent_bytes + len(part) == self._length:
                    self._check.end()
            if part:
                framed = b"%x\r\n%b\r\n" % (len(part), part) if self.chunked else part
                deadline_s += len(part) / self._rate_min_bytes_s
                deadline_s += await self._write(connection, framed)
                self.sent_bytes += len(part)
        if self.chunked:
            if self._check is not None:
                self._check.end()
            await self._write(connection, b"0\r\n\r\n")
        self.over = True
        self.over_s = monotonic()

    async def _write(self, connection: UpstreamConnection, data: bytes) -> float:
        """Waits while the upstream is behind. Returns for how long: no fault of the client's."""
        self.waits_since_s = began_s = monotonic()
        await connection.send_more(data)
        self.waits_since_s = None
        return monotonic() - began_s


def stop(upload: Upload | None) -> bool:
    """Sends nothing more: the exchange is over. Whether some was still to be sent."""
    if upload is not None:
        upload.stop()
    return sending(upload)


def sending(upload: Upload | None) -> bool:
    """Whether some of the request's body is still to be sent."""
    return upload is not None and not upload.over


def whole_s(upload: Upload | None, sent_s: float) -> float:
    """When the request was sent to its last byte; its first while that is not sent yet."""
    return upload.over_s if upload is not None and upload.over else sent_s

"""The HTTP side of the scripted upstream.

Reads a request, asks `expected` for the answer and writes it, fault included.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import msgspec
from aiohttp import web

from proxy.scripted_upstream.answers import ScriptedAnswer, expected, listing, not_found
from proxy.scripted_upstream.log import AnswerLine, RequestLine, RequestLog, now_ms, sorted_headers
from proxy.scripted_upstream.models import LISTED, Fault, owner
from proxy.scripted_upstream.shapes import CREATED_S, JSONObject

BODY_BYTES_MAX = 1 << 30
ENDPOINTS = ("chat/completions", "completions", "embeddings", "responses", "messages")
TEST_ID = "x-test-id"  # a request header; its value is in the log and at `before_event`
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a server adds to the model's behaviour: a pace, a log, and a gate for tests.

    `before_event(test_id, number)` is awaited before each write, so that a test decides when event
    `number` goes out.
    """

    pace_s: float = 0.0
    log: Path | None = None
    before_event: Callable[[str | None, int], Awaitable[None]] | None = None


class RunningUpstream(msgspec.Struct, frozen=True):
    """Where a started upstream listens; `base_url` is what a client of the API takes."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


def app(script: Script | None = None) -> web.Application:
    """The application; `serving` gives it the runner's options that it counts on."""
    upstream = _Upstream(Script() if script is None else script)
    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.router.add_route("*", "/{path:.*}", upstream.handle)
    application.on_shutdown.append(upstream.stop)
    application.on_cleanup.append(upstream.close)
    return application


@asynccontextmanager
async def serving(
    script: Script | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RunningUpstream]:
    """The upstream, listening while the context is open; port 0 takes a free one."""
    runner = web.AppRunner(
        app(script),
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        keepalive_timeout=75,
        shutdown_timeout=1,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield RunningUpstream(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


class _Upstream:
    """Answers requests until stopped."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._log = None if script.log is None else RequestLog(script.log)
        self._order = 0
        self._stopping = asyncio.Event()

    async def stop(self, _app: web.Application) -> None:
        """Wake what is silent on purpose, so that a shutdown waits for nobody."""
        self._stopping.set()

    async def close(self, _app: web.Application) -> None:
        if self._log is not None:
            self._log.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, logged at its arrival and at the end of its answer."""
        self._order += 1
        order, test_id = self._order, request.headers.get(TEST_ID)
        body = await self._arrived(request, order, test_id)
        written = _Written()
        try:
            return await self._write(request, _answer(request, body), test_id, written)
        except (asyncio.CancelledError, ConnectionError):
            written.ended = "client_left"
            raise
        finally:
            if self._log is not None:
                ended = AnswerLine(
                    order=order,
                    at_ms=now_ms(),
                    test_id=test_id,
                    status=written.status,
                    events=written.events,
                    bytes=written.bytes,
                    ended=written.ended,
                )
                self._log.write(ended)

    async def _arrived(self, request: web.Request, order: int, test_id: str | None) -> bytes:
        """The body; the log line is written also if only a part of it came."""
        body = bytearray()
        complete = False
        try:
            async for part in request.content.iter_any():
                body += part
            complete = True
        finally:
            if self._log is not None:
                line = RequestLine(
                    order=order,
                    at_ms=now_ms(),
                    method=request.method,
                    path=request.raw_path,
                    headers=sorted_headers(request.raw_headers),
                    body_sha256=hashlib.sha256(body).hexdigest(),
                    body_bytes=len(body),
                    complete=complete,
                    test_id=test_id,
                )
                self._log.write(line)
        return bytes(body)

    async def _write(
        self, request: web.Request, answer: ScriptedAnswer, test_id: str | None, written: _Written
    ) -> web.StreamResponse:
        """The answer, event by event, then its ending."""
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        if answer.ending is Fault.NO_HEAD:
            return _hang_up(request, response, written, reset=False)
        if answer.ending is Fault.HANG:
            await self._stopping.wait()
            return _hang_up(request, response, written, reset=False)
        response.content_length = answer.content_length
        await response.prepare(request)
        written.status = answer.status
        pace_s = self._script.pace_s if answer.pace_s is None else answer.pace_s
        for number, event in enumerate(answer.events):
            if self._script.before_event is not None:
                await self._script.before_event(test_id, number)
            if pace_s and number:
                await asyncio.sleep(pace_s)
            await response.write(event)
            written.events += 1
            written.bytes += len(event)
        if answer.ending is Fault.STALL:
            await self._stopping.wait()
        if answer.ending is not Fault.NONE:
            return _hang_up(request, response, written, reset=answer.ending is Fault.RESET)
        await response.write_eof()
        return response


class _Written:
    """How far an answer has come."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.events = 0
        self.bytes = 0
        self.ended = "complete"


def _answer(request: web.Request, body: bytes) -> ScriptedAnswer:
    """What to answer, by method and path; the /v1 may be left out."""
    path = request.raw_path.partition("?")[0].strip("/")
    path = path[3:] if path.startswith("v1/") else path
    if request.method == "POST" and path in ENDPOINTS:
        credential = request.headers.get("authorization", "").removeprefix("Bearer ")
        return expected(
            _decoded(request.headers.get("content-encoding", ""), body), path, credential=credential
        )
    if request.method == "GET" and path == "models":
        return listing({"object": "list", "data": [_model(name) for name in LISTED]})
    name = unquote(path.removeprefix("models/"))
    if request.method == "GET" and path.startswith("models/"):
        return (
            listing(_model(name))
            if name in LISTED
            else not_found(f"The model '{name}' does not exist.")
        )
    return not_found(f"Unknown request URL: {request.method} /{path}.")


def _model(name: str) -> JSONObject:
    return {"id": name, "object": "model", "created": CREATED_S, "owned_by": owner(name)}


def _decoded(encoding: str, body: bytes) -> bytes:
    """The content of a compressed request body.

    What cannot be read stays as it is, and is refused as no JSON.
    """
    bits = _WINDOW_BITS.get(encoding.lower())
    if bits is None:
        return body
    try:
        return zlib.decompressobj(wbits=bits).decompress(body, BODY_BYTES_MAX)
    except zlib.error:
        return body


def _hang_up(
    request: web.Request, response: web.StreamResponse, written: _Written, *, reset: bool
) -> web.StreamResponse:
    """End the connection in mid-answer: with a TCP reset, or with an ordinary close."""
    written.ended = "fault"
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if reset and connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    # What aiohttp still tries to write for this response finds no connection and is dropped.
    return response

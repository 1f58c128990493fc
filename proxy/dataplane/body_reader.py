"""Reads large request bodies in a process of its own, since one call on them holds this one up.

A decoder takes 30 MiB in one call of up to 200 ms, and holds the interpreter's lock meanwhile; a
list of millions of lists takes seconds and a gigabyte. Here it holds up nobody, and neither memory
nor time is the proxy's: both are bounded. `large_bodies.py` starts this process and asks it. It
knows no secret, writes no file, and ends with the socket that it is asked over.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import socket
from pathlib import Path

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.dialects.registry import BY_ENDPOINT
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.content_coding import decode_body

MEMORY_MAX_BYTES = 2**30  # of its address space
RESTS_BYTES = 256 * 2**20  # a process that has grown beyond is replaced, so that it is given back
LENGTH_BYTES = 4  # before each message, which tells its size
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Task(msgspec.Struct, frozen=True, gc=False):
    """What is to be read of the body that follows.

    endpoint · whose call it is; empty: only that it is JSON
    """

    endpoint: str
    encoding: str | None
    decoded_bytes_max: int
    body_bytes: int


class ReadBody(msgspec.Struct, frozen=True, tag_field="kind", tag="told", gc=False):
    """What was read. So many bytes follow: the body with its coding undone, where it had one.

    last · this process ends now
    """

    call: Call | None
    images: int | None
    readable_bytes: int
    last: bool


class RefusedBody(msgspec.Struct, frozen=True, tag_field="kind", tag="refused", gc=False):
    """The error to answer with."""

    status: int
    type: str
    code: str
    message: str
    param: str | None
    last: bool


Reply = ReadBody | RefusedBody
_task_decoder = msgspec.msgpack.Decoder(Task)


def main() -> None:
    """Serves the socket that stands in the place of standard input, until it is closed."""
    _bound()
    with socket.socket(fileno=0) as asker, contextlib.suppress(OSError, EOFError):
        while _serve(asker):
            pass


def _bound() -> None:
    gc.disable()  # nothing here has cycles, and a million lists would be looked through many times
    for bound, most in ((resource.RLIMIT_AS, MEMORY_MAX_BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):  # no such bound on this system
            resource.setrlimit(bound, (most, most))


def _serve(asker: socket.socket) -> bool:
    """One task; whether another may follow."""
    task = _task_decoder.decode(receive(asker, int.from_bytes(receive(asker, LENGTH_BYTES))))
    body = receive(asker, task.body_bytes)
    readable = b""
    last = False
    try:
        found = body if task.encoding is None else _decoded(task, body)
        call, images = _understood(task.endpoint, found)
        last = _is_large()
        readable = b"" if task.encoding is None else found
        reply: Reply = ReadBody(call, images, len(readable), last)
    except ProxyError as error:
        last = _is_large()
        reply = RefusedBody(error.status, error.type, error.code, error.message, error.param, last)
    except MemoryError:
        last = True
        message = "The request body takes too much memory to be read. Send less at once."
        reply = RefusedBody(413, "invalid_request_error", "body_too_large", message, None, last)
    send(asker, msgspec.msgpack.encode(reply), readable)
    return not last


def _decoded(task: Task, body: bytes) -> bytes:
    return decode_body(task.encoding, body, task.decoded_bytes_max)


def _understood(endpoint: str, body: bytes) -> tuple[Call | None, int | None]:
    if not endpoint:
        check_json_text(body)
        return None, None
    dialect = BY_ENDPOINT[endpoint]
    return dialect.read_call(endpoint, body), dialect.count_images(body)


def check_json_text(body: bytes) -> None:
    """Raises ProxyError 400 for a body that is neither JSON nor empty."""
    if not body.strip():
        return
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except _JSON_ERRORS:
        raise invalid_request("The request body is not JSON in UTF-8.") from None


def _is_large() -> bool:
    """Whether this process is larger than it should rest, where its system tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return False
    return pages * resource.getpagesize() > RESTS_BYTES


def send(to: socket.socket, message: bytes, following: bytes) -> None:
    """One message, and what follows it. Raises OSError; TimeoutError if the socket has one."""
    to.sendall(len(message).to_bytes(LENGTH_BYTES) + message)
    to.sendall(following)


def receive(of: socket.socket, size_bytes: int) -> bytes:
    """So many bytes. Raises EOFError where the other end is closed."""
    parts: list[bytes] = []
    while size_bytes:
        part = of.recv(min(size_bytes, 2**20))
        if not part:
            raise EOFError
        parts.append(part)
        size_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)

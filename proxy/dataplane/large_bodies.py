"""Has large request bodies read by a process of their own (`body_reader.py`), one at a time.

Those up to `OWN_BYTES` are read here, in the caller's thread. The process is started when the first
larger one comes, and replaced when it is gone, hangs, or has grown. What it cannot be asked is
refused with 503 before anything is sent: no other request waits for it, and no record is at stake.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic

import msgspec

from proxy.core.dialects.contract import Call, Dialect
from proxy.core.errors import ProxyError, unavailable
from proxy.core.http.content_coding import decode_body
from proxy.dataplane.body_reader import (
    LENGTH_BYTES,
    ReadBody,
    RefusedBody,
    Reply,
    Task,
    check_json_text,
    receive,
    send,
)

# Of a body that the proxy reads itself, where each call of a decoder takes 14 ms at most.
OWN_BYTES = 2 * 2**20
ANSWER_S = 15.0  # what takes longer is given up
_START = "from proxy.dataplane.body_reader import main; main()"
_PASSED = ("PATH", "LANG", "LC_", "LD_", "DYLD_", "PYTHON")  # of the environment; no secrets
_reply_decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class _Reader:
    """One such process."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._socket, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in os.environ if name.startswith(_PASSED)}
        path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-P", "-c", _START],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment | {"PYTHONPATH": path},
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid

    def ask(self, task: Task, body: bytes, answer_s: float) -> tuple[Reply, bytes]:
        """Its reply, and the decoded body. Raises OSError or EOFError where it is gone, and
        TimeoutError where it hangs."""
        deadline_s = monotonic() + answer_s
        self._socket.settimeout(answer_s)
        send(self._socket, msgspec.msgpack.encode(task), body)
        self._socket.settimeout(max(0.001, deadline_s - monotonic()))
        size_bytes = int.from_bytes(receive(self._socket, LENGTH_BYTES))
        reply = _reply_decoder.decode(receive(self._socket, size_bytes))
        following = 0 if isinstance(reply, RefusedBody) else reply.readable_bytes
        return reply, receive(self._socket, following) if following else b""

    def end(self) -> None:
        """At once, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._socket.close()


class LargeBodies:
    """Asks the process, from any thread but the loop's. `close` ends it for good."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._turn = threading.Lock()
        self._reader: _Reader | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        reader = self._reader
        return None if reader is None else reader.pid

    def call(
        self, dialect: Dialect, endpoint: str, body: bytes, encoding: str | None, bytes_max: int
    ) -> tuple[bytes, Call, int | None]:
        """The body with its coding undone, the call it makes, and the images of a large one.

        Raises the ProxyError that reading it has raised, or 503."""
        if len(body) <= OWN_BYTES:
            body = decode_body(encoding, body, bytes_max)
            if len(body) <= OWN_BYTES:
                return body, dialect.read_call(endpoint, body), None
            encoding = None
        told, readable = self._ask(Task(endpoint, encoding, bytes_max, len(body)), body)
        assert told.call is not None
        return body if encoding is None else readable, told.call, told.images

    def json_text(self, body: bytes, encoding: str | None, bytes_max: int) -> bytes:
        """The body with its coding undone. Raises ProxyError 400 where it is neither JSON nor
        empty, as its decoding does, or 503."""
        if len(body) <= OWN_BYTES:
            body = decode_body(encoding, body, bytes_max)
            if len(body) <= OWN_BYTES:
                check_json_text(body)
                return body
            encoding = None
        _, readable = self._ask(Task("", encoding, bytes_max, len(body)), body)
        return body if encoding is None else readable

    def close(self) -> None:
        self._closed = True
        self._replace()

    def _ask(self, task: Task, body: bytes) -> tuple[ReadBody, bytes]:
        with self._turn:
            reply, readable = self._replied(task, body)
            if reply.last:
                self._replace()
        if isinstance(reply, RefusedBody):
            raise ProxyError(reply.status, reply.type, reply.code, reply.message, param=reply.param)
        return reply, readable

    def _replied(self, task: Task, body: bytes) -> tuple[Reply, bytes]:
        fresh = self._reader is None
        try:
            if self._reader is None:
                self._reader = self._started()
            return self._reader.ask(task, body, self._answer_s)
        except TimeoutError:
            self._replace()
            raise _unread(f"in {self._answer_s:g} s", "Send less at once.") from None
        except (OSError, EOFError):
            self._replace()
        if fresh or self._closed:
            raise _unread("now", "Try again shortly.")
        # It ended while it had nothing to do; a body that ends a fresh one is not tried again.
        return self._replied(task, body)

    def _started(self) -> _Reader:
        if self._closed:
            raise EOFError
        return _Reader()

    def _replace(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.end()


def _unread(when: str, then: str) -> ProxyError:
    message = (
        f"The proxy cannot read a body of this size {when}: the process that does it is gone or"
        f" busy. Nothing was sent. {then}"
    )
    return unavailable("body_unread", message)

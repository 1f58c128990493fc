"""The process that reads large bodies: its bounds, and when it is to be replaced."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys

import msgspec
import pytest

from proxy.core.errors import ProxyError
from proxy.dataplane.body_reader import (
    LENGTH_BYTES,
    MEMORY_MAX_BYTES,
    RESTS_BYTES,
    RefusedBody,
    Reply,
    Task,
    check_json_text,
    receive,
    send,
)
from tests.support.waiting import GUARD_S


def asked(asker: socket.socket, task: Task, body: bytes) -> Reply:
    send(asker, msgspec.msgpack.encode(task), body)
    size = int.from_bytes(receive(asker, LENGTH_BYTES))
    return msgspec.msgpack.decode(receive(asker, size), type=Reply)  # type: ignore[arg-type]


@pytest.fixture
def asker():  # type: ignore[no-untyped-def]
    ours, theirs = socket.socketpair()
    ours.settimeout(GUARD_S)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", "from proxy.dataplane.body_reader import main; main()"],
            stdin=theirs.fileno(),
        )
    yield ours, process.pid
    ours.close()
    assert process.wait(GUARD_S) == 0, "it ends with its socket"


def test_its_memory_is_bounded_and_leaves_no_core_dump(asker) -> None:  # type: ignore[no-untyped-def]
    one, pid = asker
    text = b'{"model":"m","messages":[]}'
    reply = asked(one, Task("/v1/chat/completions", None, 2**25, len(text)), text)
    assert not isinstance(reply, RefusedBody) and not reply.last and reply.call is not None
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    assert resource.prlimit(pid, resource.RLIMIT_AS) == (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES)


def test_one_that_has_grown_says_that_it_ends(asker) -> None:  # type: ignore[no-untyped-def]
    one, _ = asker
    text = b" " * RESTS_BYTES + b"[]"
    reply = asked(one, Task("", None, 2**25, len(text)), text)
    assert not isinstance(reply, RefusedBody) and reply.last


def test_what_is_no_call_may_be_json_or_nothing() -> None:
    for text in (b"", b" ", b"1", b'{"a":[]}'):
        check_json_text(text)
    for text in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(ProxyError):
            check_json_text(text)

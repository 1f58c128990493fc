"""The scripted upstream's record of what reached it, on disk before the upstream goes on.

JSON lines of two kinds:

- `request`, when a request has arrived, whole or not: order, at_ms, method, path, headers,
  body_sha256, body_bytes, complete, test_id
- `answer`, when its answer has ended: order (the request's), test_id, status, events, bytes, ended
  (complete, fault, client_left)

A checker compares them with what a client saw and a ledger holds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec


class RequestLine(msgspec.Struct, frozen=True, kw_only=True, tag="request", tag_field="line"):
    """A request as it arrived.

    Headers are sorted, with values as latin-1. The digest is of the body's bytes on the wire.
    """

    order: int
    at_ms: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body_sha256: str
    body_bytes: int
    complete: bool
    test_id: str | None = None


class AnswerLine(msgspec.Struct, frozen=True, kw_only=True, tag="answer", tag_field="line"):
    """How an answer ended: events and bytes handed to the connection, and why it stopped."""

    order: int
    at_ms: int
    test_id: str | None
    status: int | None  # None: no answer began
    events: int
    bytes: int
    ended: str


Line = RequestLine | AnswerLine


class RequestLog:
    """Appends lines to one file, each synced before `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, line: Line) -> None:
        os.write(self._file, msgspec.json.encode(line) + b"\n")
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def sorted_headers(raw: Sequence[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """(name as sent, value) sorted by name without case, then value."""
    return tuple(
        sorted(
            ((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw),
            key=lambda pair: (pair[0].lower(), pair[1]),
        )
    )


def read_log(path: Path) -> list[Line]:
    """All whole lines of a log, in order; a last line cut off by a crash is left out."""
    lines = path.read_bytes().split(b"\n")[:-1]
    decoder = msgspec.json.Decoder(Line)
    return [decoder.decode(line) for line in lines]

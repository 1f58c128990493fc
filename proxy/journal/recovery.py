"""What a dead process left open: each opening without an end, with its marks, so that it can be settled. Reads only; changes nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from proxy.core.entries import Marked, Opened
from proxy.journal.payloads import decode_mark, decode_open
from proxy.journal.survey import Skipped, Survey, survey


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of reading a directory; damage is in it, not hidden by it."""

    unresolved: list[tuple[Opened, list[Marked]]]  # in the order of opening
    last_seq: int
    frames: int                    # sound entries read
    skipped_bytes: int             # bytes that were no sound entry though something stood there
    skipped: tuple[Skipped, ...]   # the first of those places
    unopened: int                  # exchanges known by a mark alone, neither opened nor ended: the opening was damaged, so no record can be made


def recover(directory: Path) -> Recovered:
    """Reads a writer's directory. Its lock must be held (or its own journal not yet have opened anything), else running exchanges look dead."""
    return recovered(survey(directory))


def recovered(found: Survey) -> Recovered:
    """A survey's open exchanges, decoded. An entry that cannot be decoded is reported as skipped."""
    unresolved: list[tuple[Opened, list[Marked]]] = []
    for exchange in found.unresolved.values():
        try:
            opened = decode_open(exchange.opened)
        except msgspec.DecodeError:
            _report(found, exchange.opened)
            continue
        marks: list[Marked] = []
        for payload in exchange.marks:
            try:
                marks.append(decode_mark(payload))
            except msgspec.DecodeError:
                _report(found, payload)
        unresolved.append((opened, marks))
    return Recovered(
        unresolved=unresolved, last_seq=found.last_seq, frames=found.frames, skipped_bytes=found.skipped_bytes,
        skipped=tuple(found.skipped), unopened=len(found.unopened),
    )


def _report(found: Survey, payload: bytes) -> None:
    found.skipped_bytes += len(payload)

"""One journal entry as bytes and back.

A frame is found again wherever it stands, so damage costs only the frames that it touches.

    magic (4)  crc (4)  kind (1)  length (4)  seq (8)  payload (length)

All little-endian, without padding. The CRC-32 covers everything behind it. The magic holds the
bytes 0xFE and 0xFF, which UTF-8 never uses: no payload can look like the start of a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

MAGIC: Final = b"\xfeTK\xff"
# First in each segment once it is written to; its seq is that of the last entry before it.
START: Final = ord("S")
OPEN: Final = ord("O")
MARK: Final = ord("M")
CLOSE: Final = ord("C")
VOID: Final = ord("V")
KINDS: Final = frozenset((START, OPEN, MARK, CLOSE, VOID))

# bounds what a damaged length can make a scan read, and what a segment's end can waste
FRAME_BYTES_MAX: Final = 16 * 1024
_LEAD = struct.Struct("<4sI")
_REST = struct.Struct("<BIQ")
_unpack_header = struct.Struct("<4sIBIQ").unpack_from
_pack_lead, _pack_rest = _LEAD.pack, _REST.pack
HEADER_BYTES: Final = _LEAD.size + _REST.size
PAYLOAD_BYTES_MAX: Final = FRAME_BYTES_MAX - HEADER_BYTES


class Frame(NamedTuple):
    """The place of a sound frame in a buffer, as offsets.

    The frame is `data[at:end]`, its payload `data[at + HEADER_BYTES : end]`.
    """

    kind: int
    seq: int
    at: int
    end: int

    def payload(self, data: bytes) -> bytes:
        return data[self.at + HEADER_BYTES : self.end]


def encode(kind: int, seq: int, payload: bytes) -> bytes:
    """The frame's bytes. The payload is at most PAYLOAD_BYTES_MAX long."""
    rest = _pack_rest(kind, len(payload), seq) + payload
    return _pack_lead(MAGIC, crc32(rest)) + rest


def frame_at(data: bytes, at: int, start: int = 0) -> Frame | None:
    """The frame that begins exactly at `at`; None if it is not whole and sound.

    The offsets of the frame count from `start` bytes before the buffer.
    """
    if len(data) - at < HEADER_BYTES:
        return None
    magic, crc, kind, length, seq = _unpack_header(data, at)
    if magic != MAGIC:
        return None
    end = at + HEADER_BYTES + length
    if length > PAYLOAD_BYTES_MAX or end > len(data) or kind not in KINDS:
        return None
    if crc32(data[at + _LEAD.size : end]) != crc:
        return None
    return Frame(kind, seq, start + at, start + end)


def next_frame(data: bytes, at: int) -> Frame | None:
    """The first sound frame at or behind `at`."""
    frame = frame_at(data, at)
    while frame is None:
        at = data.find(MAGIC, at + 1)
        if at < 0:
            return None
        frame = frame_at(data, at)
    return frame


def scan(data: bytes, at: int = 0) -> Iterator[Frame]:
    """Every sound frame, in order. A gap between two of them is damage."""
    while (frame := next_frame(data, at)) is not None:
        yield frame
        at = frame.end

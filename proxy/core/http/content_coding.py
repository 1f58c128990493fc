"""Undoes content codings to read a copy: gzip, deflate, br and zstd.

All of it has bounds, because a few bytes can stand for gigabytes. Answers are decoded as they flow
by and never raise: a copy that cannot be read sets `failed`, and the bytes go on to the client all
the same. Request bodies are decoded whole, and refused with the reason.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli
import msgspec

from proxy.core.errors import ProxyError, invalid_request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE_BYTES_MAX = 64 * 1024  # decoded at a time, so that no chunk becomes one huge string
_FREE_BYTES = 1024 * 1024  # below this much output no ratio is looked at
# Event streams shrink 10 to 50 times; deflate can do 1,032 times, and only bombs come near.
_RATIO_MAX = 200
_OUTPUT_BYTES_MAX = 1024 * 1024 * 1024  # 1 GiB: no answer that reports usage is longer
# 8 MiB, which every reader must be able to hold (RFC 9659); a frame that asks for more is not read
_ZSTD_WINDOW_LOG_MAX = 23
_GZIP = ("gzip", "x-gzip")
_READABLE = frozenset((b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"identity", b""))

# A body may be several compressed ones in a row, each an object of our own to make and of 20 bytes
# at the least.
# of a request, which is decoded at once: 32 MiB of empty ones would hold up everyone for minutes
_BODY_MEMBERS_MAX = 1000
_ANSWER_MEMBERS_MAX = 100_000  # of an answer: some servers begin another with each event
# Given to a decompressor at once: what it hands back as not its own is a copy.
_WINDOW_BYTES_MAX = 64 * 1024
_WINDOW_BYTES_MIN = 64  # behind the end of a member, doubled with each part


class _TooManyMembers(ValueError):
    """Nobody compresses like this but to keep readers busy."""


_BROKEN = (zlib.error, brotli.error, zstd.ZstdError, EOFError, _TooManyMembers)


class _Coding(Protocol):
    """One way to decode. `pieces` raises one of _BROKEN on data that is none of its kind."""

    def pieces(self, chunk: bytes) -> Iterator[bytes]: ...

    @property
    def whole(self) -> bool:
        """Whether the data so far is complete."""
        ...


class Decoder:
    """Decodes one answer: `feed` yields the decoded pieces, and nothing more after `failed`."""

    __slots__ = ("_coding", "_in_bytes", "_out_bytes", "_out_bytes_max", "failed")

    def __init__(self, coding: _Coding | None, output_bytes_max: int) -> None:
        self.failed = False
        self._coding = coding  # None: identity
        self._in_bytes = 0
        self._out_bytes = 0
        self._out_bytes_max = output_bytes_max

    @classmethod
    def for_encoding(
        cls, content_encoding: str | None, output_bytes_max: int = _OUTPUT_BYTES_MAX
    ) -> Decoder | None:
        """A decoder for this `Content-Encoding`, or None.

        Unknown codings and several at once cannot be read here.
        """
        name = coding_name(content_encoding)
        if name == "identity":
            return cls(None, output_bytes_max)
        coding = _coding(name, lenient=True, members_max=_ANSWER_MEMBERS_MAX)
        return None if coding is None else cls(coding, output_bytes_max)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded pieces of this chunk."""
        if self._coding is None:
            yield chunk
            return
        if self.failed:
            return
        self._in_bytes += len(chunk)
        out_bytes_max = min(self._out_bytes_max, _FREE_BYTES + _RATIO_MAX * self._in_bytes)
        try:
            for piece in self._coding.pieces(chunk):
                self._out_bytes += len(piece)
                if self._out_bytes > out_bytes_max:
                    self.failed = True
                    return
                yield piece
        except _BROKEN:
            self.failed = True


class _Inflate:
    """gzip with any number of members, or deflate: zlib's form, and (`lenient`) the bare one that
    some servers send under that name."""

    __slots__ = ("_gzip", "_header", "_inflate", "_lenient", "_members_left", "_window")

    def __init__(self, *, gzip: bool, lenient: bool, members_max: int) -> None:
        self._gzip = gzip
        self._lenient = lenient
        self._members_left = members_max
        self._window = _WINDOW_BYTES_MAX
        self._header = b""  # deflate only: its first two bytes tell zlib's form from the bare one
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if gzip else None

    @property
    def whole(self) -> bool:
        return self._inflate is not None and self._inflate.eof

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            chunk = self._start_deflate(chunk)
        at = 0
        while at < len(chunk):
            part = chunk[at : at + self._window]
            at += len(part)
            self._window = min(2 * self._window, _WINDOW_BYTES_MAX)
            inflate = self._inflate
            assert inflate is not None
            if inflate.eof:
                # Behind the end of the data: gzip may go on with another member, after a padding of
                # zeros; what else comes is no data.
                rest = part.lstrip(b"\0") if self._gzip else b""
                if rest:
                    self._inflate = self._next_member()
                    at -= len(rest)
                    self._window = _WINDOW_BYTES_MIN
                continue
            full = True
            while full:  # zlib may hold more output back than it has input left
                piece = inflate.decompress(part, _PIECE_BYTES_MAX)
                if piece:
                    yield piece
                full = len(piece) == _PIECE_BYTES_MAX and not inflate.eof
                part = inflate.unconsumed_tail
            if inflate.unused_data:
                at -= len(inflate.unused_data)
                self._window = _WINDOW_BYTES_MIN

    def _next_member(self) -> zlib._Decompress:
        self._members_left -= 1
        if self._members_left <= 0:
            raise _TooManyMembers
        return zlib.decompressobj(zlib.MAX_WBITS | 16)

    def _start_deflate(self, chunk: bytes) -> bytes:
        self._header += chunk
        if len(self._header) < 2:
            return b""
        head, self._header = self._header, b""
        zlib_form = not self._lenient or (
            head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
        )
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS if zlib_form else -zlib.MAX_WBITS)
        return head


class _Brotli:
    """br: one stream, nothing behind it."""

    __slots__ = ("_decompressor",)

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    @property
    def whole(self) -> bool:
        return bool(self._decompressor.is_finished())

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        decompressor = self._decompressor
        piece = decompressor.process(chunk, output_buffer_limit=_PIECE_BYTES_MAX)
        while piece:
            yield piece
            # It may hold output back although it would accept more input; only an empty piece says
            # that there is none.
            piece = (
                b""
                if decompressor.is_finished()
                else decompressor.process(b"", output_buffer_limit=_PIECE_BYTES_MAX)
            )


class _Zstd:
    """zstd: any number of frames, of a window that any reader can hold."""

    __slots__ = ("_decompressor", "_frames_left", "_window")

    def __init__(self, frames_max: int) -> None:
        self._decompressor = _zstd_decompressor()
        self._frames_left = frames_max
        self._window = _WINDOW_BYTES_MAX

    @property
    def whole(self) -> bool:
        return self._decompressor.eof

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(chunk):
            if self._decompressor.eof:
                self._frames_left -= 1
                if self._frames_left <= 0:
                    raise _TooManyMembers
                self._decompressor = _zstd_decompressor()
            decompressor = self._decompressor
            part = chunk[at : at + self._window]
            at += len(part)
            self._window = min(2 * self._window, _WINDOW_BYTES_MAX)
            while True:
                piece = decompressor.decompress(part, _PIECE_BYTES_MAX)
                if piece:
                    yield piece
                if decompressor.eof or decompressor.needs_input:
                    break
                part = b""
            if decompressor.eof:
                at -= len(decompressor.unused_data)
                self._window = _WINDOW_BYTES_MIN


def _zstd_decompressor() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    )


def _coding(name: str, *, lenient: bool, members_max: int) -> _Coding | None:
    if name in ("gzip", "deflate"):
        return _Inflate(gzip=name == "gzip", lenient=lenient, members_max=members_max)
    if name == "br":
        return _Brotli()
    return _Zstd(members_max) if name == "zstd" else None


def readable_codings(accepted: bytes) -> bytes:
    """The codings of an Accept-Encoding field that can be undone here.

    It is the field as it came if all can. What cannot be read is charged by its bytes, and a caller
    must not make them few.
    """
    codings = accepted.split(b",")
    readable = [one for one in codings if one.partition(b";")[0].strip().lower() in _READABLE]
    if len(readable) == len(codings):
        return accepted
    return b",".join(readable).strip() or b"identity"


def coding_name(content_encoding: str | None) -> str:
    """The coding in one word: lower case, "identity" for none, "gzip" for its alias."""
    coding = (content_encoding or "").strip().lower()
    if coding in _GZIP:
        return "gzip"
    return coding or "identity"


def decode_body(encoding: str | None, body: bytes, body_bytes_max: int) -> bytes:
    """A request's body as its upstream will read it; ProxyError 415, 413 or 400.

    How much longer it may be when decoded is bounded as for answers: a hundred bytes could else
    cost as much as the longest body. An upstream that does not look at Content-Encoding (many do
    not) would read the bytes as they came. Data that is JSON text at the same time (bare deflate
    and br can be) would then be another request than the one we decided on: it is refused, and
    deflate is taken in zlib's form only.
    """
    name = coding_name(encoding)
    if name == "identity":
        return body
    coding = _coding(name, lenient=False, members_max=_BODY_MEMBERS_MAX)
    if coding is None:
        message = (
            "The proxy cannot read a request body in this Content-Encoding. Send it as gzip,"
            " deflate, br, zstd or without a content encoding."
        )
        raise ProxyError(415, "invalid_request_error", "unsupported_encoding", message)
    if _is_json_object(body):
        raise invalid_request(
            "The request body is JSON as it stands and says to be compressed. Send it without a"
            " Content-Encoding.",
            code="ambiguous_body",
        )
    parts: list[bytes] = []
    room = bytes_max = min(body_bytes_max, _FREE_BYTES + _RATIO_MAX * len(body))
    try:
        for part in coding.pieces(body):
            room -= len(part)
            if room < 0:
                message = (
                    f"The request body is longer than {bytes_max} bytes when decoded. Send less at"
                    " once, or ask the operator to raise bodies.max."
                    if bytes_max == body_bytes_max
                    else f"The request body is more than {_RATIO_MAX} times as long when decoded."
                    " Send it without a Content-Encoding."
                )
                raise ProxyError(413, "invalid_request_error", "body_too_large", message)
            parts.append(part)
    except _BROKEN:
        raise _undecodable(name) from None
    if not coding.whole:
        raise _undecodable(name)
    return b"".join(parts)


def _is_json_object(body: bytes) -> bool:
    """Whether some JSON reader may take these bytes for an object; a compressed body hardly ever
    begins like one."""
    if body.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] != b"{":
        return False
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _undecodable(coding: str) -> ProxyError:
    return invalid_request(
        f"The request body is not valid {coding}, or ends too early. Send what Content-Encoding"
        " says, or no Content-Encoding."
    )

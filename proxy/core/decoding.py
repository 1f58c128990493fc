"""Content codings, for reading a copy: gzip and deflate with bounds, because a few bytes can stand for gigabytes.

Answers are decoded as they flow by and never raise: a copy that cannot be read sets `failed`, and the bytes go on to the client all the same.
Request bodies are decoded whole, and refused with the reason.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from proxy.core.errors import ProxyError, invalid_request

_PIECE_BYTES_MAX = 64 * 1024            # decoded at a time, so that no chunk becomes one huge string
_FREE_BYTES = 1024 * 1024               # below this much output no ratio is looked at
_RATIO_MAX = 200                        # event streams shrink 10 to 50 times; deflate can do 1,032 times, and only bombs come near
_OUTPUT_BYTES_MAX = 1024 * 1024 * 1024  # 1 GiB: no answer that reports usage is longer
_GZIP = ("gzip", "x-gzip")


class Decoder:
    """One answer's decoder: `feed` yields the decoded pieces; after `failed` it yields nothing more."""

    __slots__ = ("_coding", "_header", "_in_bytes", "_inflate", "_out_bytes", "_out_bytes_max", "failed")

    def __init__(self, coding: str, output_bytes_max: int) -> None:
        self.failed = False
        self._coding = coding
        self._header = b""              # deflate only: its first two bytes tell zlib's form from the raw one
        self._in_bytes = 0
        self._out_bytes = 0
        self._out_bytes_max = output_bytes_max
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if coding == "gzip" else None

    @classmethod
    def for_encoding(cls, content_encoding: str | None, output_bytes_max: int = _OUTPUT_BYTES_MAX) -> Decoder | None:
        """A decoder for this `Content-Encoding`, or None if it is not one that can be read here (br, zstd, several at once)."""
        coding = coding_name(content_encoding)
        return cls(coding, output_bytes_max) if coding in ("identity", "gzip", "deflate") else None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded pieces of this chunk."""
        if self._coding == "identity":
            yield chunk
            return
        self._in_bytes += len(chunk)
        while chunk and not self.failed:
            inflate = self._inflate
            if inflate is None:
                chunk = self._start_deflate(chunk)
                continue
            if inflate.eof:
                chunk = self._next_member(chunk)
                continue
            full = True
            while full:         # zlib may hold more output back than it has input left
                try:
                    piece = inflate.decompress(chunk, _PIECE_BYTES_MAX)
                except zlib.error:
                    self.failed = True
                    return
                self._out_bytes += len(piece)
                if self._out_bytes > min(self._out_bytes_max, _FREE_BYTES + _RATIO_MAX * self._in_bytes):
                    self.failed = True
                    return
                if piece:
                    yield piece
                full = len(piece) == _PIECE_BYTES_MAX and not inflate.eof
                chunk = inflate.unconsumed_tail
            chunk = inflate.unused_data

    def _next_member(self, chunk: bytes) -> bytes:
        """Behind the end of the data: gzip may go on with another member, after a padding of zeros; what else comes is no data."""
        chunk = chunk.lstrip(b"\0") if self._coding == "gzip" else b""
        if chunk:
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return chunk

    def _start_deflate(self, chunk: bytes) -> bytes:
        """Wait for two bytes: "deflate" means zlib's form, but some servers send the raw one."""
        self._header += chunk
        if len(self._header) < 2:
            return b""
        head, self._header = self._header, b""
        zlib_form = head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS if zlib_form else -zlib.MAX_WBITS)
        return head


def coding_name(content_encoding: str | None) -> str:
    """The coding in one word: lower case, "identity" for none, "gzip" for its alias."""
    coding = (content_encoding or "").strip().lower()
    if coding in _GZIP:
        return "gzip"
    return coding or "identity"


def decode_body(encoding: str | None, body: bytes, body_bytes_max: int) -> bytes:
    """A request's body as its upstream will read it; ProxyError 415, 413 or 400.

    Deflate only in zlib's form, as RFC 9110 has it: bare deflate data can be JSON text at the same time, and an upstream that does not look at
    Content-Encoding (many do not) would run another request than the one we decided on. Gzip and zlib begin with bytes that no JSON object begins with.
    """
    coding = coding_name(encoding)
    if coding == "identity":
        return body
    if coding not in ("gzip", "deflate"):
        message = "The proxy cannot read a request body in this Content-Encoding. Send it as gzip, deflate or without a content encoding."
        raise ProxyError(415, "invalid_request_error", "unsupported_encoding", message)
    bits = zlib.MAX_WBITS | 16 if coding == "gzip" else zlib.MAX_WBITS
    parts: list[bytes] = []
    room = body_bytes_max
    rest = body
    while rest:
        inflate = zlib.decompressobj(bits)
        try:
            part = inflate.decompress(rest, room + 1)
        except zlib.error:
            raise _undecodable(coding) from None
        room -= len(part)
        if room < 0:
            message = f"The request body is longer than {body_bytes_max} bytes when decoded. Send less at once, or ask the operator to raise bodies.max."
            raise ProxyError(413, "invalid_request_error", "body_too_large", message)
        if not inflate.eof:
            raise _undecodable(coding)
        parts.append(part)
        rest = inflate.unused_data.lstrip(b"\0") if coding == "gzip" else b""
    return b"".join(parts)


def _undecodable(coding: str) -> ProxyError:
    return invalid_request(f"The request body is not valid {coding}, or ends too early. Send what Content-Encoding says, or no Content-Encoding.")

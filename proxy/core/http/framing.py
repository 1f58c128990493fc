"""Which requests are framed in a way that every later reader takes alike. Stricter than the parser
in front of it; the rest is refused."""

from __future__ import annotations

import re

from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.headers import RawHeaders, index

TARGET_MAX = 8000  # characters; the parser's own line bound is a little above
# Printable ASCII but for the fragment sign: everything else must be percent-encoded.
_TARGET = re.compile(r"[!\"$-~]+")
# How a chunked body without a trailer ends, with the line end before its last chunk. aiohttp's
# parser keeps the last trailer field and reports it as the first
# field of the message that follows, so a connection on which a chunked message ended in any other
# way must not carry another.
CHUNKED_END = b"\r\n0\r\n\r\n"
_END_BYTES = len(CHUNKED_END)


def latest(tail: bytes, data: bytes) -> bytes:
    """The last bytes of a connection, enough to tell how a chunked body ended.

    `data` has arrived behind `tail`.
    """
    return data[-_END_BYTES:] if len(data) >= _END_BYTES else (tail + data)[-_END_BYTES:]


def check_framing(method: str, target: str, version: tuple[int, int], headers: RawHeaders) -> None:
    """Raises ProxyError unless target, version and body framing are unambiguous.

    The error closes the connection.
    """
    error = _fault(method, target, version, headers)
    if error is not None:
        raise error.closing()


def _fault(
    method: str, target: str, version: tuple[int, int], headers: RawHeaders
) -> ProxyError | None:
    if version not in ((1, 0), (1, 1)):
        return ProxyError(
            505,
            "invalid_request_error",
            "http_version_not_supported",
            "This proxy speaks HTTP/1.1 and HTTP/1.0 only.",
        )
    if method == "CONNECT":
        return ProxyError(
            405,
            "invalid_request_error",
            "method_not_allowed",
            "CONNECT is not offered: this is a reverse proxy.",
        )
    if len(target) < 1 or target[0] != "/" or target[1:2] == "/":
        return invalid_request(
            "The request target must be a path that begins with a single slash; set base_url to"
            " this proxy's own address."
        )
    if _TARGET.fullmatch(target) is None:
        return invalid_request("The request target holds characters that must be percent-encoded.")
    named = index(headers)
    codings = named.get(b"transfer-encoding")
    if codings:
        if version == (1, 0):
            return invalid_request(
                "Transfer-Encoding is not part of HTTP/1.0: send Content-Length."
            )
        if len(codings) != 1 or codings[0].strip().lower() != b"chunked":
            message = (
                "The only transfer coding offered is `chunked`; compress with Content-Encoding"
                " instead."
            )
            return ProxyError(
                501, "invalid_request_error", "unsupported_transfer_encoding", message
            )
        if b"content-length" in named:
            return invalid_request(
                "Content-Length and Transfer-Encoding contradict each other: send one of them."
            )
    if len(named.get(b"host", ())) > 1:
        return invalid_request("Host is given more than once.")
    return None

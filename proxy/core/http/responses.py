"""The bytes of answers that need no request to answer to."""

from __future__ import annotations

from http import HTTPStatus

from proxy.core.errors import ProxyError, invalid_request


def phrase(status: int) -> str:
    """The usual words behind a status; none for a vendor's own."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def plain_error(error: ProxyError, body: bytes) -> bytes:
    """A whole answer to a request that could not even be read; then the connection closes."""
    head = (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nx-tollkeeper-origin:"
        b" proxy\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    )
    return head % (error.status, phrase(error.status).encode(), len(body)) + body


def malformed() -> ProxyError:
    """400: what came is no HTTP request. What exactly is wrong is not quoted: the line may hold a
    credential."""
    return invalid_request(
        "The request is not well-formed HTTP/1.1: check its head and the framing of its body."
    )


def late_head() -> ProxyError:
    """408: a request head that was begun and not finished in time."""
    return ProxyError(
        408,
        "invalid_request_error",
        "request_timeout",
        "The request head did not arrive in time. Send the request again.",
    )


def head_too_large(
    headers_max: int, field_bytes_max: int, target_max: int, head_bytes_max: int
) -> ProxyError:
    """431: more header fields, longer ones, a longer target or more of it all than is read. The
    connection closes."""
    message = (
        f"The request head is too large: at most {headers_max} fields of {field_bytes_max} bytes, a"
        f" target of {target_max}, and {head_bytes_max} bytes in all."
    )
    return ProxyError(431, "invalid_request_error", "headers_too_large", message, close=True)

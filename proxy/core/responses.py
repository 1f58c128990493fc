"""The bytes of answers that need no request to answer to."""

from __future__ import annotations

from http import HTTPStatus

from proxy.core.errors import ProxyError


def phrase(status: int) -> str:
    """The usual words behind a status; none for a vendor's own."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def plain_error(error: ProxyError) -> bytes:
    """A whole answer, after which the connection closes: for a request that could not even be read."""
    body = error.body()
    head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nx-tollkeeper-origin: proxy\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (error.status, phrase(error.status).encode(), len(body)) + body

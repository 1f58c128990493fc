"""Requests of web pages: the question that a browser asks first, and what it needs in answers."""

from __future__ import annotations

from collections.abc import Collection

from proxy.core.http.cors import allowed_origin, preflight, without_origin
from proxy.core.http.headers import first
from proxy.dataplane.connection import Request


def answer_page(request: Request, origins: Collection[bytes]) -> bool:
    """Answers a browser's question, which has no credential. False: it is another request, whose
    answer will say that its page may read it."""
    origin = allowed_origin(origins, request.headers)
    asks = request.method == "OPTIONS" and (
        first(request.headers, b"access-control-request-method") is not None
    )
    if asks and origin:
        request.connection.answer(request, 204, preflight(origin, request.headers), b"")
        return True
    request.read_as(without_origin(request.headers) if origin else request.headers, origin)
    return False

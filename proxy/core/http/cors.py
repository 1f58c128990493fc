"""What browsers ask before a page of another origin may call, and need to see in each answer.

A page may call if its origin is configured. It sends no cookies: its key is in a header, so no
credentials are allowed beside.
"""

from __future__ import annotations

from collections.abc import Collection

from proxy.core.http.headers import PERMISSION, Fields, RawHeaders, first

MAX_AGE_S = 7200  # how long a browser need not ask again; Chromium keeps it no longer
METHODS = b"GET, POST, PUT, PATCH, DELETE"
# What a page may read of an answer. A wildcard would do, but not in every browser.
_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")
EXPOSED = ", ".join(
    (
        *("request-id", "x-request-id", "x-tollkeeper-id", "x-tollkeeper-origin"),
        *("retry-after", "retry-after-ms", "x-should-retry", "ratelimit", "ratelimit-policy"),
        *(
            f"x-ratelimit-{what}-{unit}"
            for unit in _LIMITS[:2]
            for what in ("limit", "remaining", "reset")
        ),
        *(
            f"anthropic-ratelimit-{unit}-{what}"
            for unit in _LIMITS
            for what in ("limit", "remaining", "reset")
        ),
        *("openai-processing-ms", "openai-version", "content-disposition"),
    )
).encode()
_VARY = (b"Vary", b"Origin")


def allowed_origin(origins: Collection[bytes], headers: RawHeaders) -> bytes:
    """The origin of the page that asks, if it may; else empty."""
    origin = first(headers, b"origin")
    return origin if origin is not None and origin in origins else b""


def preflight(origin: bytes, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The fields of the 204 for the question of a browser.

    The field names that it asks for are echoed: a wildcard does not cover Authorization.
    """
    fields = [
        _VARY,
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Allow-Methods", METHODS),
        (b"Access-Control-Max-Age", b"%d" % MAX_AGE_S),
    ]
    wanted = first(headers, b"access-control-request-headers")
    return [*fields, (b"Access-Control-Allow-Headers", wanted)] if wanted else fields


def page_fields(origin: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of an answer to a page of this origin; empty: to none that may read it.

    `Vary` stands on every answer, so that no cache serves one origin's to another.
    """
    if not origin:
        return [_VARY]
    return [
        _VARY,
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Expose-Headers", EXPOSED),
    ]


def without_permission(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """An answer's fields without the vendor's permission, which is about the vendor's own pages."""
    return [field for field in headers if not field[0].lower().startswith(PERMISSION)]


def without_origin(headers: RawHeaders) -> Fields:
    """The request's fields for the vendor, which refuses pages that it does not know."""
    return Fields(pair for pair in headers if pair[0].lower() != b"origin")

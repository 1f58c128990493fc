"""The paths of the data listener: under which name each is known, and which methods it takes."""

from __future__ import annotations

from typing import Final

from proxy.core.dialects.registry import BY_ENDPOINT, kept_at
from proxy.core.errors import ProxyError
from proxy.core.http.unserved import family
from proxy.core.model_names import MODELS, model_of_path
from proxy.dataplane.connection import Request
from proxy.dataplane.endpoints.usage import RECORDS, USAGE_ROUTES

HEALTH: Final = ("/healthz", "/readyz")
PAGES: Final = "/ui"  # and all below it, where they are switched on


def is_page(path: str) -> bool:
    """Whether the pages in a browser have this path, if they are on."""
    return path == PAGES or path.startswith(f"{PAGES}/")


def canonical(path: str) -> str:
    """The path with its /v1, which clients may leave out. Compared byte for byte: what is encoded
    or dotted is simply unknown."""
    return path if path.startswith("/v1/") else f"/v1{path}"


def route_label(route: str, path: str) -> str:
    """A metric label from a bounded set."""
    if is_page(route):
        return PAGES
    if route in BY_ENDPOINT or route in (MODELS, *USAGE_ROUTES, *HEALTH):
        return route
    if route.startswith(RECORDS):
        return f"{RECORDS}{{id}}"
    if (kept := kept_at(route)) is not None:
        return kept[1].endpoint
    return family(path) if model_of_path(route) is None else f"{MODELS}/{{id}}"


def allow(request: Request, *methods: str) -> None:
    """Raises ProxyError 405 for another method."""
    if request.method not in methods:
        message = f"{request.method[:20]} is not offered here; use {' or '.join(methods)}."
        raise ProxyError(
            405,
            "invalid_request_error",
            "method_not_allowed",
            message,
            headers=(("Allow", ", ".join(methods)),),
        )

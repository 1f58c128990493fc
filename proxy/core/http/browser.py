"""What a browser says beside a request for a page, and what every page tells it.

A browser states the origin of the page whose form it sends. Ours say `Referrer-Policy:
same-origin`: under `no-referrer` it would state `null` for our own forms as well.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from proxy.core.errors import ProxyError, invalid_request
from proxy.core.http.headers import RawHeaders, first, values

FORM_BYTES_MAX: Final = 4096  # a key and two tokens
_FIELDS_MAX: Final = 8
_COOKIE_FIELDS_MAX: Final = 64
_FORM: Final = "application/x-www-form-urlencoded"
_PORTS: Final = {"http": "80", "https": "443"}

# Nothing is loaded but our own stylesheet, nothing of it runs, and no other page shows it.
SAFE: Final = (
    (
        b"Content-Security-Policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
        b" frame-ancestors 'none'",
    ),
    (b"X-Frame-Options", b"DENY"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"X-Robots-Tag", b"noindex"),
)
PRIVATE: Final = (
    *SAFE,
    (b"Cache-Control", b"no-store"),
    (b"Vary", b"Cookie"),
)


def cookies(headers: RawHeaders) -> dict[str, str]:
    """The cookies of a request by name. Of a name that comes twice there is none.

    A neighbouring site can add a second one, and which of them counts would be a matter of order.
    """
    found: dict[str, str] = {}
    twice = set()
    for line in values(headers, b"cookie"):
        for pair in line.decode("latin-1").split(";", _COOKIE_FIELDS_MAX)[:_COOKIE_FIELDS_MAX]:
            name, _, value = pair.strip().partition("=")
            if name in found:
                twice.add(name)
            found[name] = value
    return {name: value for name, value in found.items() if name not in twice}


def by_https(headers: RawHeaders) -> bool:
    """Whether the browser came by https, to us or to a server in front of us.

    Its own `Origin` says so, or the `X-Forwarded-Proto` of that server. A caller that makes one up
    gets a cookie that its own browser keeps back.
    """
    origin, forwarded = first(headers, b"origin"), first(headers, b"x-forwarded-proto")
    if origin is not None and origin.lower().startswith(b"https://"):
        return True
    return forwarded is not None and forwarded.split(b",")[0].strip().lower() == b"https"


def check_own_form(headers: RawHeaders) -> None:
    """Raises ProxyError 403 unless the form is one of our own pages, as far as the browser tells.

    An origin that is not stated, or `null`, proves nothing: the form's token decides then.
    """
    site = first(headers, b"sec-fetch-site")
    if site is not None and site.strip().lower() != b"same-origin":
        raise _foreign()
    origin = first(headers, b"origin")
    if origin is None or origin.strip().lower() == b"null":
        return
    host = first(headers, b"host")
    if len(values(headers, b"origin")) > 1 or host is None:
        raise _foreign()
    try:
        stated = urlsplit(origin.decode("latin-1").strip())
    except ValueError as error:  # no address, such as a bracket that is not closed
        raise _foreign() from error
    if stated.scheme not in _PORTS or _authority(stated.netloc, stated.scheme) != _authority(
        host.decode("latin-1").strip(), stated.scheme
    ):
        raise _foreign()


def from_elsewhere(headers: RawHeaders) -> bool:
    """Whether a link of another site led here: then the browser keeps strict cookies back."""
    return (first(headers, b"sec-fetch-site") or b"").strip().lower() in (
        b"cross-site",
        b"same-site",
    )


def check_form(headers: RawHeaders) -> None:
    """Raises ProxyError 415 unless the body is a plain form."""
    kinds = values(headers, b"content-type")
    kind = kinds[0].decode("latin-1").lower() if len(kinds) == 1 else ""
    name, _, parameters = kind.partition(";")
    plain = parameters.strip() in ("", "charset=utf-8")
    if name.strip() != _FORM or not plain or values(headers, b"content-encoding"):
        raise ProxyError(
            415,
            "invalid_request_error",
            "unsupported_media_type",
            f"This form is sent as {_FORM}, in UTF-8 and not compressed.",
        )


def read_form(body: bytes, fields_max: int = _FIELDS_MAX) -> dict[str, str]:
    """The fields of a form by name. Raises ProxyError 400 for what no browser sends."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=fields_max,
        )
    except ValueError as error:
        raise invalid_request("The form cannot be read. Send it from the page again.") from error
    found = dict(pairs)
    if len(found) < len(pairs):
        raise invalid_request("The form names a field twice. Send it from the page again.")
    return found


def _authority(netloc: str, scheme: str) -> str:
    return netloc.lower().removesuffix(f":{_PORTS[scheme]}")


def _foreign() -> ProxyError:
    message = (
        "This form was sent from another site, so nothing was done. Open the page here and use its"
        " own form. Behind another server, that server has to pass on the Host that the browser"
        " named."
    )
    return ProxyError(403, "invalid_request_error", "foreign_form", message)

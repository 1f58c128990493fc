"""The Content-Type of a request's body: only what every upstream reads as JSON in UTF-8.

Upstreams choose their reader by it. A form reader finds another `model` in the same bytes, and so
does one that takes UTF-7 or UTF-16 for what we read as UTF-8. So what is decided on and what is run
would differ.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.core.errors import ProxyError
from proxy.core.http.headers import RawHeaders, values

# What nearly all clients send.
_USUAL: Final = frozenset({b"application/json", b"application/json; charset=utf-8"})
_UTF8: Final = frozenset({"utf-8", "utf8"})
_JSON = re.compile(r"[a-z0-9!#$&^_.-]+/(?:[a-z0-9!#$&^_.-]+\+)?json")
# Words of other types and charsets, which some upstreams look for anywhere in the value:
# `application/x-www-form-urlencoded+json` is a form to them.
_READ_OTHERWISE = re.compile(
    r"urlencoded|form-?data|multipart|text/|xml|yaml|msgpack|cbor|protobuf|grpc"
    r"|utf[-_]?(?:7|16|32)|ucs[-_]?[24]"
)
# A parameter behind its semicolon. A value in quotes may hold anything, escaped or not.
_PARAMETER = re.compile(r'[ \t]*;[ \t]*(?:([^\s;="]+)(?:=("(?:[^"\\]|\\.)*"|[^\s;",]*))?)?[ \t]*')


def check_json(headers: RawHeaders) -> None:
    """ProxyError 415 unless the type is absent, or JSON in UTF-8."""
    found = values(headers, b"content-type")
    if not found or (len(found) == 1 and found[0] in _USUAL):
        return
    if len(found) > 1:
        raise _refused("is given more than once")
    value = found[0].decode("latin-1").lower()
    kind, _, rest = value.partition(";")
    kind = kind.strip(" \t")
    if _JSON.fullmatch(kind) is None or not kind.startswith("application/"):
        raise _refused("is not JSON's")
    if _READ_OTHERWISE.search(value) is not None:
        raise _refused("names another type or charset beside JSON's")
    at, rest, charsets = 0, f";{rest}", 0
    while at < len(rest):
        parameter = _PARAMETER.match(rest, at)
        if parameter is None:
            raise _refused("has parameters that cannot be read")
        at = parameter.end()
        _check_charset(parameter[1], parameter[2])
        charsets += parameter[1] == "charset"
    if value.count("charset") > charsets:
        raise _refused("names a charset where some readers find it and some do not")


def _check_charset(name: str | None, value: str | None) -> None:
    """Other parameters say nothing about how the bytes are read. `charset*=` is a second way to
    write it; a bare `utf-8` is often seen."""
    if name is None:
        return
    if value is None:
        if name not in _UTF8:
            raise _refused("has parameters that cannot be read")
    elif name.startswith("charset") and (
        name != "charset" or re.sub(r"\\(.)", r"\1", value.strip('"')) not in _UTF8
    ):
        raise _refused("names another charset than UTF-8")


def _refused(why: str) -> ProxyError:
    message = (
        f"The Content-Type of this request {why}, and upstreams would read the body in different"
        " ways. Send `Content-Type: application/json` (with curl: -H 'Content-Type:"
        " application/json')."
    )
    return ProxyError(415, "invalid_request_error", "unsupported_media_type", message)

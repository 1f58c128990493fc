"""What browsers are told."""

from __future__ import annotations

from proxy.core.http.cors import (
    EXPOSED,
    allowed_origin,
    page_fields,
    preflight,
    without_origin,
    without_permission,
)
from proxy.core.http.headers import inward_filter

PAGE = b"https://app.example.com"


def test_only_a_configured_origin_may() -> None:
    for origin in (b"https://app.example.com.evil.net", b"null", b"http://app.example.com", b""):
        assert allowed_origin({PAGE}, [(b"Origin", origin)]) == b""
    assert allowed_origin({PAGE}, []) == b""
    assert allowed_origin({PAGE}, [(b"ORIGIN", PAGE)]) == PAGE


def test_the_fields_that_a_browser_asks_for_are_echoed() -> None:
    asked = b"authorization,content-type,x-stainless-os"
    fields = dict(preflight(PAGE, [(b"Access-Control-Request-Headers", asked)]))
    assert fields[b"Access-Control-Allow-Headers"] == asked
    assert fields[b"Access-Control-Allow-Origin"] == PAGE
    assert fields[b"Vary"] == b"Origin"
    assert b"Access-Control-Allow-Credentials" not in fields
    assert b"Access-Control-Allow-Headers" not in dict(preflight(PAGE, []))


def test_a_vendors_own_permission_goes_and_ours_comes() -> None:
    vendors = [(b"access-control-allow-origin", b"*"), (b"Vary", b"Accept-Encoding"), (b"X", b"1")]
    assert without_permission(vendors) == vendors[1:] == inward_filter(to_page=True).select(vendors)
    allowing = inward_filter(allow=["Access-Control-Allow-Origin"], to_page=True)
    assert allowing.select(vendors) == vendors[1:]
    assert page_fields(b"") == [(b"Vary", b"Origin")]
    assert page_fields(PAGE) == [
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Origin", PAGE),
        (b"Access-Control-Expose-Headers", EXPOSED),
    ]
    for name in (b"x-tollkeeper-id", b"retry-after", b"ratelimit", b"x-ratelimit-reset-tokens"):
        assert name in EXPOSED.split(b", ")


def test_the_vendor_does_not_hear_of_the_page() -> None:
    assert tuple(without_origin([(b"Origin", PAGE), (b"A", b"1")])) == ((b"A", b"1"),)

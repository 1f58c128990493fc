"""What a browser says beside a request: its cookies, its page's origin, its form."""

from __future__ import annotations

import pytest

from proxy.core.errors import ProxyError
from proxy.core.http import browser

Pairs = tuple[tuple[str, str], ...]


def fields(*pairs: tuple[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (("a=1; b=2",), {"a": "1", "b": "2"}),
        (("a=1", "b=x=y"), {"a": "1", "b": "x=y"}),
        (("a=1; a=2; b=3",), {"b": "3"}),  # a neighbouring site added one
        (("a=1", "a=1"), {}),
        ((" ; =; a",), {"a": ""}),
        (("; ".join(f"c{n}=" for n in range(100)),), {f"c{n}": "" for n in range(64)}),
    ],
)
def test_cookies(lines: tuple[str, ...], found: dict[str, str]) -> None:
    got = browser.cookies(fields(*(("Cookie", line) for line in lines)))
    assert {name: value for name, value in got.items() if name} == found


@pytest.mark.parametrize(
    ("pairs", "own"),
    [
        ((("Host", "h:1"), ("Origin", "http://h:1")), True),
        ((("Host", "h"), ("Origin", "https://h")), True),  # TLS ends in front of us
        ((("Host", "h:443"), ("Origin", "https://h")), True),
        ((("Host", "H"), ("Origin", "http://h:80")), True),
        ((("Host", "[::1]:8790"), ("Origin", "http://[::1]:8790")), True),
        ((("Host", "h"),), True),  # curl, or a browser that states none: the token decides
        ((("Host", "h"), ("Origin", "null")), True),
        ((("Host", "h"), ("Origin", "null"), ("Sec-Fetch-Site", "same-origin")), True),
        ((("Host", "h"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")), False),
        ((("Host", "h"), ("Sec-Fetch-Site", "same-site")), False),
        ((("Host", "h"), ("Sec-Fetch-Site", "none")), False),
        ((("Host", "h"), ("Origin", "http://evil"), ("Sec-Fetch-Site", "same-origin")), False),
        ((("Host", "h"), ("Origin", "http://h.evil")), False),
        ((("Host", "h"), ("Origin", "http://h@evil")), False),
        ((("Host", "h"), ("Origin", "http://h:81")), False),
        ((("Host", "h"), ("Origin", "file://")), False),
        ((("Host", "h"), ("Origin", "http://h"), ("Origin", "http://evil")), False),
        ((("Origin", "http://h"),), False),
    ],
)
def test_whose_form_it_is(pairs: Pairs, own: bool) -> None:
    if own:
        browser.check_own_form(fields(*pairs))
    else:
        with pytest.raises(ProxyError, match="from another site"):
            browser.check_own_form(fields(*pairs))


@pytest.mark.parametrize(
    ("pairs", "https"),
    [
        ((), False),
        ((("Origin", "https://h"),), True),
        ((("Origin", "http://h"),), False),
        ((("X-Forwarded-Proto", "https"),), True),
        ((("X-Forwarded-Proto", "HTTPS, http"),), True),
        ((("X-Forwarded-Proto", "http, https"),), False),
        ((("Origin", "null"), ("X-Forwarded-Proto", "https")), True),
    ],
)
def test_whether_the_browser_came_by_https(pairs: Pairs, https: bool) -> None:
    assert browser.by_https(fields(*pairs)) is https


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin", None])
def test_who_led_here(site: str | None) -> None:
    said = () if site is None else (("Sec-Fetch-Site", site),)
    assert browser.from_elsewhere(fields(*said)) is (site in ("cross-site", "same-site"))


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("application/x-www-form-urlencoded", True),
        ("application/x-www-form-urlencoded; charset=UTF-8", True),
        ("application/x-www-form-urlencoded; charset=utf-7", False),
        ("application/json", False),
        ("text/plain", False),
        ("multipart/form-data; boundary=x", False),
    ],
)
def test_only_a_plain_form_is_taken(kind: str, taken: bool) -> None:
    if taken:
        browser.check_form(fields(("Content-Type", kind)))
    else:
        with pytest.raises(ProxyError, match="415"):
            browser.check_form(fields(("Content-Type", kind)))


def test_a_form_without_a_type_with_two_or_compressed_is_not_taken() -> None:
    form = ("Content-Type", "application/x-www-form-urlencoded")
    for pairs in ((), (form, form), (form, ("Content-Encoding", "gzip"))):
        with pytest.raises(ProxyError, match="415"):
            browser.check_form(fields(*pairs))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", {}),
        (b"key=a%2Bb+c&token=", {"key": "a+b c", "token": ""}),
        (b"key=%E9%80%9A", {"key": "通"}),
        (b"key=1&key=2", None),
        (b"key=%FF", None),
        (b"key=\xff", None),
        (b"key", None),
        (b"&".join(b"f%d=1" % n for n in range(9)), None),
    ],
)
def test_the_fields_of_a_form(body: bytes, found: dict[str, str] | None) -> None:
    if found is not None:
        assert browser.read_form(body) == found
    else:
        with pytest.raises(ProxyError, match="400"):
            browser.read_form(body)


def test_pages_load_nothing_of_others_and_are_kept_by_nobody() -> None:
    said = dict(browser.PRIVATE)
    policy = said[b"Content-Security-Policy"].decode()
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "script-src" not in policy and "frame-ancestors 'none'" in policy
    assert said[b"Cache-Control"] == b"no-store" and said[b"X-Content-Type-Options"] == b"nosniff"

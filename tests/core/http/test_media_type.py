"""A body is read as JSON in UTF-8 by every upstream, or it is refused."""

from __future__ import annotations

import pytest

from proxy.core.errors import ProxyError
from proxy.core.http.media_type import check_json

TAKEN = [
    "application/json", "Application/JSON", " application/json\t", "application/json;", "application/json; charset=utf-8",
    'application/json;charset="UTF-8"', 'application/json; Charset="u\\tf-8"', "application/json; charset=utf8", "application/json; utf-8",
    'application/json; profile="a;b"; charset=UTF-8', "application/json; odata=verbose", "application/vnd.api+json", "application/json ; x=",
]  # fmt: skip
REFUSED = [
    "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain;charset=UTF-8", "text/json", "text/xml", "application/jsonp",
    "application/json+xml", "application/json/x", "application/json, text/plain", "application/json charset=utf-8", "application/json; charset=utf-7",
    "application/json; charset=utf-16", "application/json; charset=", "application/json; charset=iso-8859-1", 'application/json; charset="utf-7"',
    "application/json; charset=utf-8; charset=utf-7", "application/json; charset*=utf-8''utf-7", "application/json; charset*0=utf-7",
    'application/json; x="unclosed; charset=utf-8', "application/json; charset = utf-7", "application/json; nonsense", "*/*", "application/x-ndjson",
    "application/json;charset=utf-8,application/x-www-form-urlencoded", "\x00application/json", "application/json; charset=\xa0utf-8",
    # What a reader finds that looks for a word, or for `; charset=`, wherever it stands.
    "application/x-www-form-urlencoded+json", 'application/vnd.api+json; x="multipart/form-data; boundary=b"', "application/json; x=form-data",
    "application/xml+json", "application/json; encoding=utf-7", "application/json; x-charset=utf-8", 'application/json; profile="a;charset=latin1"',
    'application/json; charset=utf-8; profile="; charset=utf-8"',
]  # fmt: skip


@pytest.mark.parametrize("value", TAKEN)
def test_json_in_utf8_is_taken(value: str) -> None:
    check_json([(b"Host", b"x"), (b"Content-TYPE", value.encode("latin-1"))])


@pytest.mark.parametrize("value", REFUSED)
def test_all_else_is_refused_with_what_to_send(value: str) -> None:
    with pytest.raises(ProxyError) as refused:
        check_json([(b"content-type", value.encode("latin-1"))])
    assert (refused.value.status, refused.value.code) == (415, "unsupported_media_type")
    assert "application/json" in refused.value.message


def test_none_is_taken_and_two_are_not() -> None:
    check_json([(b"accept", b"text/plain")])
    with pytest.raises(ProxyError, match="more than once"):
        check_json([(b"content-type", b"application/json"), (b"Content-Type", b"application/json")])

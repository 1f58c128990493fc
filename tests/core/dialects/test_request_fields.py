"""Fields of a request body that two readers could read differently are refused. (Each field of a
wire: the tests of its call.)"""

from __future__ import annotations

import pytest

from proxy.core.dialects.request_fields import Guarded, RequestFields, forbid_fields, said_in
from proxy.core.errors import ProxyError

GUARDED = Guarded({"model", "max_tokens", "stream", "options"})


def refused(body: bytes) -> tuple[int, str, str | None]:
    with pytest.raises(ProxyError) as caught:
        fields = RequestFields(body, GUARDED)
        fields.model()
        fields.stream()
        fields.once("options", "usage")
    return caught.value.status, caught.value.code, caught.value.param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model": "a", "model": "b"}', "model"),
        (b'{"model": "a", "Model": "b"}', "model"),
        (b'{"model": "a", "mod\\u0065l": "b"}', "model"),
        (b'{"model": "a", "maxTokens": 1}', "max_tokens"),
        (b'{"model": "a", "max_tokens\\u0000": 1}', "max_tokens"),
        (b'{"model": "a", "seed": 1, "seed": 2}', None),
        (b'{"model": "a", "options": {"usage": 1, "usage": 2}}', "options"),
        (b'{"model": "a", "options": {"usage": 1, "Usage": 2}}', "options"),
    ],
)
def test_what_readers_read_differently_is_refused(body: bytes, param: str | None) -> None:
    assert refused(body) == (400, "ambiguous_body", param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[]", None),
        (b"{", None),
        (b'{"model": "\xff"}', None),
        (b"{}", "model"),
        (b'{"model": 1}', "model"),
        (b'{"model": " a"}', "model"),
        (b'{"model": "a", "stream": 1}', "stream"),
        (b'{"model": "a"' + b"".join(b',"x%d":""' % at for at in range(40_000)) + b"}", None),
    ],
)
def test_what_cannot_be_acted_on_is_refused(body: bytes, param: str | None) -> None:
    assert refused(body) == (400, "invalid_request", param)


def test_a_field_that_steers_needs_leave() -> None:
    body = b'{"model": "a", "provider": {}}'
    steering = RequestFields(body, GUARDED).steering
    assert steering == ("provider",)
    assert said_in("a,b") == ("models",)
    forbid_fields(steering, ["provider"])
    with pytest.raises(ProxyError) as caught:
        forbid_fields(steering, [])
    error = caught.value
    assert (error.status, error.code, error.param) == (403, "field_not_allowed", "provider")


def test_values_are_read_in_one_way_only() -> None:
    body = (
        b' {"model": "a\\ud83d", "max_tokens": 7, "n": 7.0, "stream": true,'
        b' "options": {"usage": 1}, "tags": {"a": "b", "c": 1}, "none": null}'
    )
    fields = RequestFields(body, GUARDED)
    assert (fields.stream(), fields.integer("max_tokens"), fields.integer("n")) == (True, 7, None)
    assert fields.texts("tags") == {"a": "b"}
    assert fields.texts("options") == fields.texts("absent") == {}
    assert list(fields.once("options", "usage") or ()) == ["usage"]
    assert fields.once("none", "usage") is None
    assert fields.is_null("none")
    assert fields.is_null("absent")
    assert not fields.is_null("stream")
    assert body[slice(*fields.spans["max_tokens"])] == b"7"
    assert fields.object_start == 2
    with pytest.raises(ProxyError, match="must be a string"):
        fields.model()  # half a character in it, which readers repair in different ways

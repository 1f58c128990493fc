"""End users and tags: which source wins, what is dropped, and that a stored end user can be
erased."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.settings import AttributionSettings, TagSettings
from proxy.dataplane.attribution import Attribution


class Body(msgspec.Struct, frozen=True):
    """What a call says about its end user."""

    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] = {}


DEFAULT = AttributionSettings()
FROM_METADATA = AttributionSettings(end_user=("body:metadata.user_id", "header:X-User"))

END_USERS: list[tuple[AttributionSettings, list[tuple[bytes, bytes]], Body | None, str | None]] = [
    (DEFAULT, [], None, None),
    (DEFAULT, [], Body(), None),
    (DEFAULT, [(b"X-End-User", b"h")], Body(user="u", safety_identifier="s"), "h"),
    (DEFAULT, [], Body(user="u", safety_identifier="s"), "s"),
    (DEFAULT, [], Body(user="u"), "u"),
    (DEFAULT, [(b"x-end-user", b"first"), (b"x-end-user", b"second")], None, "first"),
    (DEFAULT, [(b"x-end-user", "\u7528\u6237".encode())], None, "\u7528\u6237"),
    # not usable: the next source is asked
    (DEFAULT, [(b"x-end-user", b"")], Body(user="u"), "u"),
    (DEFAULT, [(b"x-end-user", b"caf\xe9")], Body(user="u"), "u"),
    (DEFAULT, [(b"x-end-user", b"a\tb")], Body(user="u"), "u"),
    (DEFAULT, [], Body(safety_identifier="x" * 129, user="x" * 128), "x" * 128),
    (DEFAULT, [], Body(safety_identifier="a\nb", user="\ud800"), None),
    (DEFAULT, [], Body(user="\u202eevil"), None),
    (FROM_METADATA, [(b"x-user", b"h")], Body(metadata={"user_id": "m"}), "m"),
    (FROM_METADATA, [(b"x-user", b"h")], Body(user="u"), "h"),
    (AttributionSettings(end_user=()), [(b"x-end-user", b"h")], Body(user="u"), None),
]


@pytest.mark.parametrize(
    ("settings", "headers", "call", "expected"),
    END_USERS,
    ids=[str(index) for index in range(len(END_USERS))],
)
def test_end_user(
    settings: AttributionSettings,
    headers: list[tuple[bytes, bytes]],
    call: Body | None,
    expected: str | None,
) -> None:
    assert Attribution(settings).of(headers, call)[0] == expected


TAGS: list[tuple[list[tuple[bytes, bytes]], Body | None, dict[str, str]]] = [
    ([], None, {}),
    (
        [(b"X-Tollkeeper-Tags", b"feature=search, env = prod,other=x")],
        None,
        {"feature": "search", "env": "prod"},
    ),
    (
        [(b"x-tollkeeper-tags", b"feature=search")],
        Body(metadata={"feature": "chat", "env": "dev", "more": "x"}),
        {"feature": "search", "env": "dev"},
    ),
    ([(b"x-tollkeeper-tags", b"feature=a=b,env")], None, {"feature": "a=b"}),
    (
        [(b"x-tollkeeper-tags", b"feature=" + b"x" * 129)],
        Body(metadata={"feature": "chat"}),
        {"feature": "chat"},
    ),
    ([(b"x-tollkeeper-tags", b"feature=\xff")], None, {}),
    ([(b"x-tollkeeper-tags", b",,=,")], Body(metadata={"env": "a\x00b"}), {}),
]


@pytest.mark.parametrize(
    ("headers", "call", "expected"), TAGS, ids=[str(index) for index in range(len(TAGS))]
)
def test_tags(
    headers: list[tuple[bytes, bytes]], call: Body | None, expected: dict[str, str]
) -> None:
    assert Attribution(DEFAULT).of(headers, call)[1] == expected


def test_only_tags_that_are_configured_are_kept() -> None:
    settings = AttributionSettings(tags=TagSettings(from_=("body:metadata",), keep=("team",)))
    assert Attribution(settings).of(
        [(b"x-tollkeeper-tags", b"team=x")], Body(metadata={"team": "y", "env": "z"})
    )[1] == {"team": "y"}


@given(
    st.lists(st.tuples(st.sampled_from([b"x-end-user", b"x-tollkeeper-tags"]), st.binary())),
    st.text(),
    st.dictionaries(st.sampled_from(["feature", "env"]), st.text()),
)
def test_whatever_clients_send_is_recorded_or_dropped(
    headers: list[tuple[bytes, bytes]], user: str, metadata: dict[str, str]
) -> None:
    end_user, tags = Attribution(DEFAULT).of(headers, Body(user=user, metadata=metadata))
    for name in [*([end_user] if end_user is not None else []), *tags.values()]:
        assert 0 < len(name) <= 128
        assert name.isprintable()


LONG = "x" * 129


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"s1"], "s1"),
        ([b" s1 "], "s1"),
        ([b"s1", b"s2"], "s1"),
        ([b""], None),
        ([b"  "], None),
        ([], None),
        (["Zoë".encode()], "Zoë"),
        ([LONG.encode()], f"sha256:{hashlib.sha256(LONG.encode()).hexdigest()[:32]}"),
        ([b"\xff"], f"sha256:{hashlib.sha256(bytes([255])).hexdigest()[:32]}"),
        ([b"a\tb"], f"sha256:{hashlib.sha256(b'a' + bytes([9]) + b'b').hexdigest()[:32]}"),
        ([b"m" * 2_000_000], f"sha256:{hashlib.sha256(b'm' * 2_000_000).hexdigest()[:32]}"),
    ],
    ids=lambda it: str(it)[:30],
)
def test_a_header_that_limits_count_is_a_tag_and_never_lost(
    values: list[bytes], expected: str | None
) -> None:
    read = Attribution(DEFAULT, ["header:x-session-id", "end_user", "tag:env"])
    headers = [(b"X-Session-Id", value) for value in values]
    tags = read.of(headers, Body(metadata={"header:x-session-id": "forged"}))[1]
    assert tags == ({} if expected is None else {"header:x-session-id": expected})

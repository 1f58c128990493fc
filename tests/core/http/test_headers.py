"""Which header fields cross the proxy, direction by direction. The table is the documented list of
exceptions to "unchanged"."""

import pytest

from proxy.core.http.headers import (
    NAMES_REMEMBERED_MAX,
    Fields,
    connection_options,
    first,
    index,
    inward_filter,
    outward_filter,
    values,
)

DROPPED_OUTWARD = """Connection Keep-Alive Proxy-Authorization Proxy-Connection TE Trailer Transfer-Encoding Upgrade Expect Host Content-Length
    Cookie Forwarded X-Forwarded-For X-Forwarded-Proto X-Real-IP CF-Connecting-IP CF-Ray OpenAI-Organization OpenAI-Project X-Tollkeeper-Tags
    Authorization X-Api-Key Api-Key""".split()
PASSED_OUTWARD = "Content-Type Accept Accept-Encoding User-Agent X-Stainless-Lang Content-Encoding OpenAI-Beta X-Request-Id Idempotency-Key Origin".split()
DROPPED_INWARD = """Connection Keep-Alive Proxy-Authenticate Trailer Transfer-Encoding Upgrade Content-Length Set-Cookie Alt-Svc
    Strict-Transport-Security X-Tollkeeper-Id""".split()
PASSED_INWARD = "Content-Type Content-Encoding Date Server OpenAI-Processing-Ms X-Request-Id X-RateLimit-Remaining-Tokens Retry-After Vary".split()


def fields(names: list[str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), b"value of " + name.encode()) for name in names]


@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
def test_the_documented_fields_are_dropped_and_all_others_pass_in_order(spelling) -> None:  # type: ignore[no-untyped-def]
    outward, inward = outward_filter(keep_credentials=False), inward_filter()
    passed = [spelling(name) for name in PASSED_OUTWARD]
    assert outward.select(fields([spelling(name) for name in DROPPED_OUTWARD] + passed)) == fields(
        passed
    )
    passed = [spelling(name) for name in PASSED_INWARD]
    assert inward.select(fields([spelling(name) for name in DROPPED_INWARD] + passed)) == fields(
        passed
    )


def test_values_pass_byte_for_byte() -> None:
    odd = [(b"X-Odd", b"caf\xe9 \t, \xff"), (b"x-odd", b""), (b"X-Odd", b"again")]
    assert inward_filter().select(odd) == odd


def test_fields_that_connection_names_are_hop_by_hop() -> None:
    headers = [
        (b"Connection", b"close, X-Private"),
        (b"X-Private", b"1"),
        (b"connection", b"x-also"),
        (b"X-Also", b"2"),
        (b"Accept", b"*/*"),
    ]
    assert connection_options(headers) == {b"x-private", b"x-also"}
    assert outward_filter(keep_credentials=True).select(headers) == [(b"Accept", b"*/*")]


def test_connection_cannot_take_away_how_the_body_is_read() -> None:
    headers = [
        (b"Connection", b"Content-Encoding, content-type"),
        (b"Content-Type", b"a/b"),
        (b"Content-Encoding", b"gzip"),
    ]
    for chosen in (outward_filter(keep_credentials=False), inward_filter()):
        assert chosen.select(headers) == headers[1:]


def test_what_steers_or_tells_a_key_is_dropped_and_config_can_re_admit_it() -> None:
    steering = fields(
        [
            "Helicone-Target-URL",
            "x-portkey-custom-host",
            "X-Original-URL",
            "X-HTTP-Method-Override",
            "X_Forwarded_Host",
            "OpenAI-Organization",
        ]
    )
    keys = fields(["x-goog-api-key", "Helicone-Auth"])
    assert outward_filter(keep_credentials=False).select(steering + keys) == []
    assert outward_filter(keep_credentials=True).select(steering + keys) == keys, (
        "the caller's own, where it is the caller who is billed"
    )
    allowed = outward_filter(
        keep_credentials=False, allow=["helicone-target-url", "X-Goog-Api-Key"]
    )
    assert allowed.select(steering + keys) == [steering[0], keys[0]]


def test_listed_lets_through_what_is_known_and_what_config_names() -> None:
    known = fields(
        "Content-Type Accept-Encoding User-Agent traceparent b3 OpenAI-Beta X-Stainless-Helper-Method anthropic-version Idempotency-Key X-Title".split()
    )
    unknown = fields(
        ["X-Whatever", "Origin", "OpenAI-Organization", "X-Stainless-Target-Url", "Cookie"]
    )
    assert outward_filter(keep_credentials=False, listed_only=True).select(known + unknown) == known
    assert (
        outward_filter(keep_credentials=False, listed_only=True, allow=["x-whatever"]).select(
            known + unknown
        )
        == known + unknown[:1]
    )
    assert outward_filter(keep_credentials=True, listed_only=True).select(
        fields(["Authorization"])
    ) == fields(["Authorization"])


def test_config_can_re_admit_a_field_but_never_a_hop_by_hop_one() -> None:
    headers = fields(["OpenAI-Organization", "Cookie", "Transfer-Encoding"])
    assert (
        outward_filter(
            keep_credentials=False, allow=["openai-organization", "transfer-encoding"]
        ).select(headers)
        == headers[:1]
    )
    assert inward_filter(allow=["set-cookie"]).select(fields(["Set-Cookie", "Alt-Svc"])) == fields(
        ["Set-Cookie"]
    )


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "x-api-key",
        "api-key",
        "host",
        "content-length",
        "transfer-encoding",
        "user-agent",
    ],
)
def test_no_config_puts_the_callers_key_or_framing_beside_ours(name: str) -> None:
    chosen = outward_filter(keep_credentials=False, replaced=["User-Agent"], allow=[name, "cookie"])
    assert chosen.select(fields([name, name.title(), "Cookie"])) == fields(["Cookie"])
    if name != "authorization":
        return
    forwarding = outward_filter(keep_credentials=True, replaced=[name], allow=[name])
    assert forwarding.select(fields([name, "X-Api-Key"])) == fields(["X-Api-Key"])


def test_an_answers_length_is_ours_whatever_config_allows() -> None:
    assert inward_filter(allow=["content-length", "connection"]).select(
        fields(["Content-Length", "Connection", "Vary"])
    ) == fields(["Vary"])


def test_credentials_pass_only_when_they_are_the_callers_own() -> None:
    headers = fields(["Authorization", "x-api-key", "api-key"])
    assert outward_filter(keep_credentials=True).select(headers) == headers
    assert outward_filter(keep_credentials=False).select(headers) == []


def test_a_field_the_upstream_config_sets_replaces_the_clients() -> None:
    assert outward_filter(keep_credentials=True, replaced=["User-Agent"]).select(
        fields(["user-agent", "Accept"])
    ) == fields(["Accept"])


def test_invented_names_do_not_fill_the_memory() -> None:
    chosen = inward_filter()
    for number in range(2 * NAMES_REMEMBERED_MAX):
        assert chosen.passes(b"x-%d" % number)
    assert len(chosen._verdicts) == NAMES_REMEMBERED_MAX
    assert not chosen.passes(b"Set-Cookie")


def test_look_ups_take_any_spelling() -> None:
    headers = [(b"Content-Type", b"a"), (b"CONTENT-TYPE", b"b")]
    assert first(headers, b"content-type") == b"a"
    assert values(headers, b"content-type") == [b"a", b"b"]
    assert first(headers, b"content-typo") is None


def test_an_index_finds_what_a_look_through_the_fields_finds() -> None:
    pairs = [(b"Via", b"1"), (b"accept", b""), (b"VIA", b"2"), (b"X-Odd", b"caf\xe9")]
    fields = Fields(pairs)
    assert list(fields) == pairs
    for name in (b"via", b"accept", b"x-odd", b"absent"):
        assert list(values(fields, name)) == list(values(pairs, name))
        assert first(fields, name) == first(pairs, name)
        assert index(pairs).get(name) == index(fields).get(name)
    assert (fields.text(b"x-odd"), fields.text(b"absent")) == ("caf\xe9", None)

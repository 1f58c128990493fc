"""What an upstream is sent: target, credential, headers, in bytes."""

from __future__ import annotations

import pytest

from proxy.config.settings import TimeoutSettings, UpstreamSettings
from proxy.dataplane.upstream.pool import ConnectError
from proxy.dataplane.upstream.upstream import Upstream

CLIENT = [
    (b"Host", b"proxy"),
    (b"Authorization", b"Bearer sk-client"),
    (b"X-Odd", b"caf\xe9"),
    (b"Content-Length", b"2"),
    (b"Accept", b"*/*"),
]


def upstream(**changes: object) -> Upstream:
    settings = UpstreamSettings(
        **{"base_url": "https://api.vendor.io/v1", "api_key": "sk-own", **changes}
    )  # type: ignore[arg-type]
    return Upstream("vendor", settings, TimeoutSettings())


def test_a_request_head_in_bytes() -> None:
    assert upstream().head("POST", "/v1/chat/completions?x=1", CLIENT, 2) == (
        b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: api.vendor.io\r\nauthorization: Bearer sk-own\r\n"
        b"X-Odd: caf\xe9\r\nAccept: */*\r\nContent-Length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("base_url", "target", "line"),
    [
        ("https://h/v1", "/v1/embeddings", b"POST /v1/embeddings HTTP/1.1"),
        ("https://h/v1", "/embeddings", b"POST /v1/embeddings HTTP/1.1"),
        (
            "https://h/openai/deployments/x",
            "/v1/chat/completions?api-version=1",
            b"POST /openai/deployments/x/chat/completions?api-version=1 HTTP/1.1",
        ),
        (
            "https://h",
            "/v1/models/meta-llama%2FLlama-3",
            b"POST /models/meta-llama%2FLlama-3 HTTP/1.1",
        ),
        ("http://h:8080/v1", "/v1/completions?", b"POST /v1/completions? HTTP/1.1"),
    ],
)
def test_the_path_follows_the_base_url_and_the_query_stays(
    base_url: str, target: str, line: bytes
) -> None:
    assert upstream(base_url=base_url).head("POST", target, [], 0).split(b"\r\n")[0] == line


def test_an_answer_is_asked_for_whole_and_in_codings_that_are_read_here() -> None:
    """Else a caller could have its usage hidden, and be charged for a few bytes."""
    fields = [
        (b"Accept-Encoding", b"dcb;q=1, gzip;q=0.5, br, *"),
        (b"Range", b"bytes=0-9"),
        (b"If-None-Match", b"*"),
    ]
    posted = upstream().head("POST", "/v1/chat/completions", fields, 2).split(b"\r\n")
    assert b"Accept-Encoding: gzip;q=0.5, br" in posted
    assert not [line for line in posted if line.startswith((b"Range", b"If-"))]
    read = upstream().head("GET", "/v1/files/f/content", fields, None).split(b"\r\n")
    assert {b"Range: bytes=0-9", b"If-None-Match: *"} <= set(read)
    for asked, sent in (
        (b"gzip, deflate, br, zstd", b"gzip, deflate, br, zstd"),
        (b"", b""),
        (b"GZIP;q=1.0,identity", b"GZIP;q=1.0,identity"),
        (b"dcb", b"identity"),
        (b"*", b"identity"),
        (b"gzip;q=0, compress", b"gzip;q=0"),
    ):
        line = b"Accept-Encoding: " + sent
        assert line in upstream().head("POST", "/", [(b"Accept-Encoding", asked)], 2).split(b"\r\n")


def test_configured_query_and_headers_are_added_and_replace_the_clients() -> None:
    head = upstream(
        query={"api-version": "2026-01-01"}, headers={"accept": "application/json", "api-key": "k"}
    ).head("POST", "/v1/embeddings?a=b", CLIENT, 0)
    assert head.startswith(b"POST /v1/embeddings?a=b&api-version=2026-01-01 HTTP/1.1\r\n")
    assert (
        b"accept: application/json\r\n" in head and b"*/*" not in head and b"api-key: k\r\n" in head
    )


def test_a_parameter_that_config_sets_is_configs_alone() -> None:
    head = upstream(query={"api-version": "2026-01-01"}).head(
        "POST", "/v1/embeddings?API-Version=1&a=b", CLIENT, 0
    )
    assert head.startswith(b"POST /v1/embeddings?a=b&api-version=2026-01-01 HTTP/1.1\r\n")
    assert (
        upstream(query={"k": "v"})
        .head("POST", "/v1/embeddings?k=1", CLIENT, 0)
        .startswith(b"POST /v1/embeddings?k=v HTTP/1.1\r\n")
    )


def test_listed_headers_are_an_upstreams_choice() -> None:
    assert b"X-Odd" in upstream().head("POST", "/v1/embeddings", CLIENT, 0)
    assert b"X-Odd" not in upstream(request_headers="listed").head(
        "POST", "/v1/embeddings", CLIENT, 0
    )
    assert b"X-Odd" in upstream(request_headers="listed", allow_request_headers=("x-odd",)).head(
        "POST", "/v1/embeddings", CLIENT, 0
    )


def test_forward_passes_the_callers_credential_and_adds_none() -> None:
    head = upstream(auth="forward", api_key="").head("POST", "/v1/embeddings", CLIENT, 0)
    assert b"Authorization: Bearer sk-client\r\n" in head and b"sk-own" not in head
    assert upstream(auth="forward", api_key="").account is None


def test_a_configured_header_that_is_the_credential_stands_alone() -> None:
    head = upstream(api_key="", headers={"api-key": "k"}).head("POST", "/v1/embeddings", CLIENT, 0)
    assert b"api-key: k\r\n" in head and b"uthorization" not in head


def test_the_account_is_a_digest_that_follows_the_key() -> None:
    one, two = upstream(api_key="sk-1").account, upstream(api_key="sk-2").account
    assert one is not None and one != two and "sk-1" not in one


def test_a_plain_upstream_behind_an_egress_proxy_takes_the_absolute_form_with_the_proxys_credentials() -> (
    None
):
    head = upstream(base_url="http://h:81/v1", proxy="http://user:pass@p:3128").head(
        "GET", "/v1/models", [], None
    )
    assert head.startswith(b"GET http://h:81/v1/models HTTP/1.1\r\nHost: h:81\r\n")
    assert b"proxy-authorization: Basic dXNlcjpwYXNz\r\n" in head
    tunnelled = upstream(proxy="http://user:pass@p:3128").head("GET", "/v1/models", [], None)
    assert (
        tunnelled.startswith(b"GET /v1/models HTTP/1.1\r\n")
        and b"proxy-authorization" not in tunnelled
    )


@pytest.mark.parametrize(
    ("changes", "configured"),
    [
        ({"api_key": ""}, False),
        ({}, True),
        ({"api_key": "", "auth": "forward"}, True),
        ({"api_key": "", "headers": {"Api-Key": "k"}}, True),
    ],
)
def test_an_upstream_without_a_credential_is_not_configured(
    changes: dict[str, object], configured: bool
) -> None:
    assert upstream(**changes).configured is configured


@pytest.mark.parametrize(
    ("status", "changes", "ours"),
    [
        (401, {}, True),
        (403, {}, True),
        (429, {}, False),
        (200, {}, False),
        (401, {"auth": "forward"}, False),
        (401, {"pass_credential_errors": True}, False),
    ],
)
def test_whose_credential_was_rejected(status: int, changes: dict[str, object], ours: bool) -> None:
    assert upstream(**changes).rejects_our_credential(status) is ours


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("pool", 503, "overloaded"),
        ("timeout", 504, "upstream_timeout"),
        ("dns", 502, "upstream_unreachable"),
        ("tls", 502, "upstream_unreachable"),
    ],
)
def test_an_unreachable_upstream_says_so(kind: str, status: int, code: str) -> None:
    error = upstream().unreachable(ConnectError(kind, "why"))
    assert (
        (error.status, error.code) == (status, code)
        and "why" in error.message
        and "vendor" in error.message
    )


@pytest.mark.parametrize(
    ("policy", "model", "stream", "expected"),
    [
        ("auto", "gpt-4o", True, "stop"),
        ("auto", "gpt-4o", False, "drain"),
        ("auto", "o1-mini", True, "drain"),
        ("auto", "deepseek-reasoner", True, "drain"),
        ("auto", None, True, "stop"),
        ("stop", "o1-mini", False, "stop"),
        ("drain", "gpt-4o", True, "drain"),
    ],
)
def test_what_happens_to_an_answer_whose_client_left(
    policy: str, model: str | None, stream: bool, expected: str
) -> None:
    assert (
        upstream(
            on_client_gone=policy, hidden_reasoning=("o1*", "deepseek-reasoner")
        ).policy_for_a_client_gone(model, stream)
        == expected
    )

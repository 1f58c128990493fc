"""What is framed in a way that two readers could take differently is refused before anyone reads
it."""

import pytest

from proxy.core.errors import ProxyError
from proxy.core.http.framing import check_framing

HOST = (b"Host", b"proxy")
CHUNKED = (b"Transfer-Encoding", b"chunked")

ACCEPTED = [
    ("POST", "/v1/chat/completions", (1, 1), [HOST]),
    ("POST", "/chat/completions?api-version=2026-01-01", (1, 1), [HOST, CHUNKED]),
    ("GET", "/v1/models/meta-llama%2FLlama-3", (1, 0), []),
    ("POST", "/", (1, 1), [HOST, (b"transfer-encoding", b" Chunked ")]),
]

REFUSED = [
    ("POST", "http://evil/v1/x", (1, 1), [HOST], 400, "invalid_request"),
    ("POST", "//evil/x", (1, 1), [HOST], 400, "invalid_request"),
    ("OPTIONS", "*", (1, 1), [HOST], 400, "invalid_request"),
    ("POST", "", (1, 1), [HOST], 400, "invalid_request"),
    ("POST", "/v1/x#fragment", (1, 1), [HOST], 400, "invalid_request"),
    ("POST", "/v1/caf\u00e9", (1, 1), [HOST], 400, "invalid_request"),
    ("POST", "/v1/a b", (1, 1), [HOST], 400, "invalid_request"),
    ("CONNECT", "host:443", (1, 1), [HOST], 405, "method_not_allowed"),
    ("POST", "/v1/x", (2, 0), [HOST], 505, "http_version_not_supported"),
    ("POST", "/v1/x", (1, 2), [HOST], 505, "http_version_not_supported"),
    ("POST", "/v1/x", (0, 9), [HOST], 505, "http_version_not_supported"),
    ("POST", "/v1/x", (1, 0), [HOST, CHUNKED], 400, "invalid_request"),
    (
        "POST",
        "/v1/x",
        (1, 1),
        [HOST, (b"Transfer-Encoding", b"gzip, chunked")],
        501,
        "unsupported_transfer_encoding",
    ),
    (
        "POST",
        "/v1/x",
        (1, 1),
        [HOST, (b"Transfer-Encoding", b"identity")],
        501,
        "unsupported_transfer_encoding",
    ),
    ("POST", "/v1/x", (1, 1), [HOST, CHUNKED, CHUNKED], 501, "unsupported_transfer_encoding"),
    ("POST", "/v1/x", (1, 1), [HOST, CHUNKED, (b"Content-Length", b"3")], 400, "invalid_request"),
    ("POST", "/v1/x", (1, 1), [HOST, HOST], 400, "invalid_request"),
]


@pytest.mark.parametrize(("method", "target", "version", "headers"), ACCEPTED)
def test_plain_requests_pass(
    method: str, target: str, version: tuple[int, int], headers: list[tuple[bytes, bytes]]
) -> None:
    check_framing(method, target, version, headers)


@pytest.mark.parametrize(("method", "target", "version", "headers", "status", "code"), REFUSED)
def test_what_is_strange_is_refused_and_the_connection_closed(
    method: str,
    target: str,
    version: tuple[int, int],
    headers: list[tuple[bytes, bytes]],
    status: int,
    code: str,
) -> None:
    with pytest.raises(ProxyError) as refused:
        check_framing(method, target, version, headers)
    assert (refused.value.status, refused.value.code, refused.value.close) == (status, code, True)

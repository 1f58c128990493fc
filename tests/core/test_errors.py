"""The one error: what it says, and what the shorthands fill in."""

from __future__ import annotations

import pytest

from proxy.core.errors import ProxyError, invalid_request, unavailable


@pytest.mark.parametrize(
    ("error", "status", "type", "code", "param", "headers"),
    [
        (
            ProxyError(404, "invalid_request_error", "model_not_found", "No 模型 “x”."),
            404,
            "invalid_request_error",
            "model_not_found",
            None,
            (),
        ),
        (
            ProxyError(429, "tokens", "rate_limit_exceeded", "", headers=(("retry-after", "7"),)),
            429,
            "tokens",
            "rate_limit_exceeded",
            None,
            (("retry-after", "7"),),
        ),
        (invalid_request("No."), 400, "invalid_request_error", "invalid_request", None, ()),
        (
            invalid_request("No.", param="n", code="ambiguous_body"),
            400,
            "invalid_request_error",
            "ambiguous_body",
            "n",
            (),
        ),
        (
            unavailable("overloaded", "Full."),
            503,
            "api_error",
            "overloaded",
            None,
            (("retry-after", "1"),),
        ),
        (
            unavailable("draining", "Stopping.", retry_after_s=5),
            503,
            "api_error",
            "draining",
            None,
            (("retry-after", "5"),),
        ),
    ],
)
def test_what_the_client_is_told(error, status, type, code, param, headers):
    assert (error.status, error.headers, error.close) == (status, headers, False)
    assert (error.type, error.code, error.param) == (type, code, param)


def test_a_traceback_says_which_error_it_was():
    assert (
        str(ProxyError(503, "api_error", "overloaded", "Full.", close=True))
        == "503 overloaded: Full."
    )

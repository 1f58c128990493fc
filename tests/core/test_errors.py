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
            (("x-should-retry", "false"),),
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


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 413, 429, 503])
def test_no_client_repeats_what_can_only_be_refused_again(status: int) -> None:
    error = ProxyError(status, "t", "c", "m", headers=(("a", "b"),))
    final = (("x-should-retry", "false"),) if status in (401, 403, 404, 413) else ()
    assert error.headers == (("a", "b"), *final)


def test_a_traceback_says_which_error_it_was():
    assert (
        str(ProxyError(503, "api_error", "overloaded", "Full.", close=True))
        == "503 overloaded: Full."
    )

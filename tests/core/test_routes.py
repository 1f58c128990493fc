"""Routes: the first glob that matches decides, and a miss names what was near."""

from __future__ import annotations

import pytest

from proxy.core.routes import match, model_not_found

ROUTES = [("deepseek-*", "modelmax"), ("gpt-4o", "exact"), ("gpt-?", "single"), ("*/llama-*", "slash"), ("qwen*", "sky-ze"), ("qwen3-max", "never")]


@pytest.mark.parametrize(
    ("model", "upstream"),
    [
        ("deepseek-v3.2", "modelmax"),
        ("deepseek-", "modelmax"),
        ("Deepseek-v3.2", None),
        ("my-deepseek-v3", None),
        ("gpt-4o", "exact"),
        ("gpt-5", "single"),
        ("gpt-4o-mini", None),
        ("meta/llama-3", "slash"),
        ("qwen3-max", "sky-ze"),
        ("", None),
    ],
)
def test_the_first_route_that_matches_decides(model: str, upstream: str | None) -> None:
    assert match(model, ROUTES) == upstream


def test_a_miss_names_the_nearest_models() -> None:
    error = model_not_found("GPT-40", ["gpt-4o", "deepseek-v3.2", "qwen3-max"])
    assert (error.status, error.type, error.code, error.param) == (404, "invalid_request_error", "model_not_found", "model")
    assert "gpt-4o" in error.message
    assert "deepseek" not in error.message
    assert "GET /v1/models" in model_not_found("zzz", ["gpt-4o"]).message
